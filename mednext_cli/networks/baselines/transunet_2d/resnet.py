"""The residual network in front of the 2D TransUNet's transformer: ResNet-50 but its last stage.

Modules carry the names of the published code, so that weights travel as they are.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS = 32
_EPSILON = 1e-6
_EXPANSION = 4  # of a bottleneck


class ResNet(nn.Module):
    """An image at 1/16 of its resolution, and skips at 1/2, 1/4 and 1/8.

    Args:
        in_channels: of the image.
        base_channels: after the first convolution; the stages have 4, 8 and 16 times as many.
        blocks: of each stage.

    Source: arXiv 1912.11370 (BiT), as arXiv 2102.04306 uses it.
    """

    def __init__(self, in_channels: int, base_channels: int, blocks: tuple[int, int, int]) -> None:
        super().__init__()
        self.root = nn.Sequential()
        root = StandardisedConv2d(in_channels, base_channels, 7, stride=2, padding=3, bias=False)
        self.root.add_module("conv", root)
        self.root.add_module("gn", nn.GroupNorm(_GROUPS, base_channels, eps=_EPSILON))
        self.root.add_module("relu", nn.ReLU(inplace=True))
        self.body = nn.Sequential()
        width = base_channels
        for index, (count, stride) in enumerate(zip(blocks, (1, 2, 2), strict=True)):
            inner = base_channels * 2**index
            self.body.add_module(f"block{index + 1}", _stage(width, inner, count, stride))
            width = inner * _EXPANSION
        self.out_channels = width

    @property
    def units(self) -> list[nn.Module]:
        """The residual blocks, first to last."""
        return [module for module in self.body.modules() if isinstance(module, Bottleneck)]

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features and skips.

        Args:
            image: (B, in_channels, H, W), both multiples of 16.

        Returns:
            (B, out_channels, H/16, W/16), and the skips, 1/8 first.
        """
        root = self.root(image)
        # Pooled without padding, the map lacks a last row and column; the published code gives the
        # skip zeros in their place, and goes on without them.
        quarter = self.body[0](F.max_pool2d(root, 3, stride=2))
        eighth = self.body[1](quarter)
        return self.body[2](eighth), [eighth, F.pad(quarter, (0, 1, 0, 1)), root]


def _stage(in_channels: int, inner_channels: int, count: int, stride: int) -> nn.Sequential:
    stage = nn.Sequential()
    out_channels = inner_channels * _EXPANSION
    stage.add_module("unit1", Bottleneck(in_channels, inner_channels, stride))
    for index in range(2, count + 1):
        stage.add_module(f"unit{index}", Bottleneck(out_channels, inner_channels))
    return stage


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, group-normalised, added to the input."""

    def __init__(self, in_channels: int, inner_channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = inner_channels * _EXPANSION
        self.gn1 = nn.GroupNorm(_GROUPS, inner_channels, eps=_EPSILON)
        self.conv1 = StandardisedConv2d(in_channels, inner_channels, 1, bias=False)
        self.gn2 = nn.GroupNorm(_GROUPS, inner_channels, eps=_EPSILON)
        self.conv2 = StandardisedConv2d(
            inner_channels, inner_channels, 3, stride=stride, padding=1, bias=False
        )
        self.gn3 = nn.GroupNorm(_GROUPS, out_channels, eps=_EPSILON)
        self.conv3 = StandardisedConv2d(inner_channels, out_channels, 1, bias=False)
        self._projected = stride > 1 or in_channels != out_channels
        if self._projected:
            self.downsample = StandardisedConv2d(
                in_channels, out_channels, 1, stride=stride, bias=False
            )
            self.gn_proj = nn.GroupNorm(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, 4 inner_channels, H / stride, W / stride)."""
        shortcut = self.gn_proj(self.downsample(x)) if self._projected else x
        branch = F.relu(self.gn1(self.conv1(x)))
        branch = F.relu(self.gn2(self.conv2(branch)))
        return F.relu(shortcut + self.gn3(self.conv3(branch)))


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose kernels have mean 0 and variance 1 whenever it runs.

    Source: arXiv 1903.10520.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), as `nn.Conv2d`."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)
