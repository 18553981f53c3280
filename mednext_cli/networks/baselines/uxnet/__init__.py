"""3D UX-Net: large depthwise kernels as encoder, convolutions as decoder; arXiv 2209.15076."""
