"""Fused operators for NVIDIA GPUs, in Triton; usable alone, and without the rest of the package.

from mednext_cli.networks.mednext.kernels import DepthwiseConv3d, depthwise_conv3d
"""

from mednext_cli.networks.mednext.kernels.availability import CHOICES
from mednext_cli.networks.mednext.kernels.convolution import DepthwiseConv3d, depthwise_conv3d
from mednext_cli.settings.sections import Operators

__all__ = ["CHOICES", "DepthwiseConv3d", "Operators", "depthwise_conv3d"]
