"""The convolutions of TransBTS; images are (B, C, D, H, W).

Source: arXiv 2103.04430, section 2; arithmetic as in the published code.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.baselines.transbts.settings import GROUPS


class Stem(nn.Module):
    """The first convolution, and dropout of whole channels.

    Args:
        channels: of the image.
        width: at full resolution.
        dropout: probability of a channel.
        always: drop in evaluation, too.
    """

    def __init__(self, channels: int, width: int, dropout: float, always: bool) -> None:
        super().__init__()
        self._dropout, self._always = dropout, always
        self.conv = nn.Conv3d(channels, width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, D, H, W) to (B, width, D, H, W)."""
        return F.dropout3d(self.conv(image), self._dropout, self.training or self._always)


class EncoderBlock(nn.Module):
    """Two convolutions, each behind a group norm and ReLU, around a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, width)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, D, H, W) to the same shape."""
        y = self.conv1(F.relu(self.norm1(x)))
        transformed: Tensor = x + self.conv2(F.relu(self.norm2(y)))
        return transformed


class DecoderBlock(nn.Module):
    """Two convolutions, batch norm and ReLU behind each.

    Args:
        channels: of the input.
        width: of the output.
        residual: whether the input is added, which takes equal widths.
    """

    def __init__(self, channels: int, width: int, residual: bool) -> None:
        super().__init__()
        self._residual = residual
        self.conv1 = nn.Conv3d(channels, width, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) to (B, width, D, H, W)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return x + y if self._residual else y


class Upsampling(nn.Module):
    """Half the channels at twice the resolution, merged with the encoder's.

    Args:
        width: of the output, and of the encoder's features there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(2 * width, width, 1)
        self.conv2 = nn.ConvTranspose3d(width, width, 2, stride=2)
        self.conv3 = nn.Conv3d(2 * width, width, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, 2 width, n, ...) and (B, width, 2n, ...) to (B, width, 2n, ...)."""
        merged: Tensor = self.conv3(torch.cat((skip, self.conv2(self.conv1(x))), dim=1))
        return merged
