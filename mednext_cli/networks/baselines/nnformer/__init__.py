"""nnFormer (arXiv 2109.03201): windows of tokens in encoder and decoder."""
