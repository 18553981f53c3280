"""What lies in run folders, read without PyTorch: listed, shown, compared."""
