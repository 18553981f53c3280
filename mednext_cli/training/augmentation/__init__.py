"""What is done to patches before a network is trained on them."""
