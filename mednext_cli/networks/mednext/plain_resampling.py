"""Resampling without an inverted bottleneck: a norm and one dense convolution of two voxels.

MedNeXt is compared with "standard" strided and transposed convolutions (arXiv 2303.09975, section
2.2 and Table 1, left), a network that its published code cannot make: the switch there only takes
the residual away. What ours assumes: kernel, stride and norm are those of the separate downsampling
layers of ConvNeXt, which MedNeXt replaces (arXiv 2201.03545, section 2.6), and the upsampling is
their mirror image. So neither the expansion nor the kernel of the network has a part in it.
"""

from torch import Tensor, nn

from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.blocks import NORMS
from mednext_cli.networks.mednext.settings import MedNeXtSettings

_STEP = 2  # kernel and stride, voxels
_DOWN = {2: nn.Conv2d, 3: nn.Conv3d}
_UP = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class _PlainResampling(nn.Module):
    """Norm, then a convolution.

    Args:
        settings: norm and dimensions.
        channels: of the input.
        convolution: to other channels and another resolution.
    """

    def __init__(self, settings: MedNeXtSettings, channels: int, convolution: nn.Module) -> None:
        super().__init__()
        self.norm = NORMS[settings.norm](channels)
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        result: Tensor = self.convolution(self.norm(x))
        # PyTorch forgets the memory format where features are small.
        return cpu.channels_last(result) if cpu.is_arranged(x) else result


class PlainDown(_PlainResampling):
    """(B, channels, 2n, ...) to (B, out_channels, n, ...)."""

    def __init__(self, settings: MedNeXtSettings, channels: int, out_channels: int) -> None:
        convolution = _DOWN[settings.dimensions](channels, out_channels, _STEP, stride=_STEP)
        super().__init__(settings, channels, convolution)


class PlainUp(_PlainResampling):
    """(B, channels, n, ...) to (B, out_channels, 2n, ...)."""

    def __init__(self, settings: MedNeXtSettings, channels: int, out_channels: int) -> None:
        convolution = _UP[settings.dimensions](channels, out_channels, _STEP, stride=_STEP)
        super().__init__(settings, channels, convolution)
