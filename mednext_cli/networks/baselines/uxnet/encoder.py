"""The encoder of 3D UX-Net: blocks of ConvNeXt whose pointwise layers are depthwise as well.

Source: arXiv 2209.15076, section 3.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mednext_cli.networks.baselines.drop_path import DropPath
from mednext_cli.networks.baselines.uxnet.family import STAGES, UXNetSettings
from mednext_cli.networks.short_axes import convolve_safely

_KERNEL = 7
_EXPANSION = 4
_EPSILON = 1e-6


class Encoder(nn.Module):
    """Takes an image (B, C, D, H, W), gives maps at 1/2, 1/4, 1/8 and 1/16 of its resolution.

    Args:
        settings: of the network.
        in_channels: channels of the image.
    """

    def __init__(self, settings: UXNetSettings, in_channels: int) -> None:
        super().__init__()
        widths = settings.feat_size
        stem = nn.Sequential(
            nn.Conv3d(in_channels, widths[0], _KERNEL, stride=2, padding=_KERNEL // 2),
            ChannelNorm(widths[0]),
        )
        self.downsample_layers = nn.ModuleList([stem])
        for wide, wider in pairwise(widths):
            halving = nn.Conv3d(wide, wider, kernel_size=2, stride=2)
            self.downsample_layers.append(nn.Sequential(ChannelNorm(wide), halving))
        self.stages = nn.ModuleList(_stages(settings))
        for stage, width in enumerate(widths):
            self.add_module(f"norm{stage}", ChannelNorm(width))

    def forward(self, image: Tensor) -> list[Tensor]:
        """The maps, finest first, each after a norm of its own."""
        maps = []
        for stage in range(STAGES):
            image = self.stages[stage](self.downsample_layers[stage](image))
            maps.append(self.get_submodule(f"norm{stage}")(image))
        return maps

    @property
    def recomputable(self) -> list[nn.Module]:
        """See `UXNet.recomputable`."""
        blocks = [block for stage in self.stages for block in stage.children()]
        return [*blocks, *self.downsample_layers]


def _stages(settings: UXNetSettings) -> list[nn.Sequential]:
    rates = torch.linspace(0, settings.drop_path_rate, sum(settings.depths), device="cpu").tolist()
    stages = []
    for width, depth in zip(settings.feat_size, settings.depths, strict=True):
        blocks = [Block(width, settings.layer_scale, rates.pop(0)) for _ in range(depth)]
        stages.append(nn.Sequential(*blocks))
    return stages


class Block(nn.Module):
    """No channel is mixed with another here, not by the pointwise layers either.

    Args:
        width: channels.
        scale: what the output is first multiplied by, then learned.
        drop_rate: share of samples in which the block is skipped.
    """

    def __init__(self, width: int, scale: float, drop_rate: float) -> None:
        super().__init__()
        inner = _EXPANSION * width
        self.gamma = nn.Parameter(scale * torch.ones(width))
        self.dwconv = nn.Conv3d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = ChannelNorm(width)
        self.pwconv1 = nn.Conv3d(width, inner, kernel_size=1, groups=width)
        self.act = nn.GELU()
        self.pwconv2 = nn.Conv3d(inner, width, kernel_size=1, groups=width)
        self.drop_path = DropPath(drop_rate)

    def forward(self, image: Tensor) -> Tensor:
        """A map (B, C, D, H, W); the same shape back."""
        mixed = convolve_safely(self.dwconv, image, _KERNEL, stride=1, transposed=False)
        inner = self.act(self.pwconv1(self.norm(mixed)))
        branch: Tensor = self.gamma[:, None, None, None] * self.pwconv2(inner)
        output: Tensor = image + self.drop_path(branch)
        return output


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each voxel (B, C, D, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=_EPSILON)

    def forward(self, image: Tensor) -> Tensor:
        """The same shape back."""
        return super().forward(image.movedim(1, -1)).movedim(-1, 1)
