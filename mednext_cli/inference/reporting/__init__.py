"""report.html of a folder of predictions: what to look at first."""
