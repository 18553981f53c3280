"""nnU-Net: the plain U-Net and the one with a residual encoder."""
