"""The U-Net of nnU-Net's first version, which 3D TransUNet puts its transformers into.

Modules carry the names of the published code, so that weights travel as they are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.baselines.transunet.settings import Triple

_SLOPE = 0.01  # of the leaky ReLU


class UNet(nn.Module):
    """Encoder and decoder without heads; two convolutions a stage.

    `conv_blocks_context` goes from full resolution down to the bottleneck, `tu` and
    `conv_blocks_localization` from there up.

    Args:
        in_channels: of the image.
        widths: of each resolution, the bottleneck's last.
        strides: (D, H, W) of each step down.
        kernels: (D, H, W) of each resolution's convolutions, the bottleneck's last.

    Source: arXiv 1904.08128; He initialisation as there.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        strides: Sequence[Triple],
        kernels: Sequence[Triple],
    ) -> None:
        super().__init__()
        depth = len(strides)
        incoming, steps = (in_channels, *widths), ((1, 1, 1), *strides)
        context: list[nn.Module] = [
            Stack(incoming[level], widths[level], 2, kernels[level], steps[level])
            for level in range(depth)
        ]
        context.append(
            nn.Sequential(
                Stack(incoming[depth], widths[depth], 1, kernels[depth], steps[depth]),
                Stack(widths[depth], widths[depth], 1, kernels[depth]),
            )
        )
        self.conv_blocks_context = nn.ModuleList(context)
        self.tu, self.conv_blocks_localization = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(depth)):
            width, stride = widths[level], strides[level]
            up = nn.ConvTranspose3d(widths[level + 1], width, stride, stride, bias=False)
            self.tu.append(up)
            # The kernel of the resolution below, as in the published code; it differs from that of
            # this one where the voxels are anisotropic.
            kernel = kernels[level + 1]
            blocks = (Stack(2 * width, width, 1, kernel), Stack(width, width, 1, kernel))
            self.conv_blocks_localization.append(nn.Sequential(*blocks))
        self.apply(_initialise)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features (B, width, ...) of an image (B, in_channels, D, H, W), full resolution first."""
        features = []
        for stage in self.conv_blocks_context:
            image = stage(image)
            features.append(image)
        return features

    def decode(self, bottom: Tensor, skips: Sequence[Tensor]) -> list[Tensor]:
        """Features of every resolution, the bottleneck's first and full resolution last.

        Args:
            bottom: (B, widths[-1], ...) of the bottleneck.
            skips: of the encoder, full resolution first, without the bottleneck.
        """
        features = [bottom]
        stages = zip(self.tu, self.conv_blocks_localization, reversed(skips), strict=True)
        for up, blocks, skip in stages:
            features.append(blocks(torch.cat((up(features[-1]), skip), dim=1)))
        return features


class Stack(nn.Module):
    """Convolutions of one resolution, the first with a stride."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        count: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
    ) -> None:
        super().__init__()
        first = ConvBlock(in_channels, out_channels, kernel, stride)
        others = (ConvBlock(out_channels, out_channels, kernel) for _ in range(count - 1))
        self.blocks = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) to (B, out_channels, ...)."""
        mixed: Tensor = self.blocks(x)
        return mixed


class ConvBlock(nn.Module):
    """Convolution, instance norm, leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1)
    ) -> None:
        super().__init__()
        depth, height, width = (length // 2 for length in kernel)
        padding = (depth, height, width)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding)
        self.instnorm = nn.InstanceNorm3d(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) to (B, out_channels, ...)."""
        return F.leaky_relu(self.instnorm(self.conv(x)), _SLOPE, inplace=True)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
