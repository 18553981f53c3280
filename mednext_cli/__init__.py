"""MedNeXt for 3D medical image segmentation (Roy et al., MICCAI 2023, arXiv 2303.09975)."""

__version__ = "0.1.0"
