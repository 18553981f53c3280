"""TransBTS (arXiv 2103.04430): a transformer at the bottom of a U-Net."""
