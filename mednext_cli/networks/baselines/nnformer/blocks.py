"""What an nnFormer is made of; tokens are (B, D, H, W, C), images (B, C, D, H, W).

Source: arXiv 2109.03201, section 3; arithmetic as in the published code.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.baselines.drop_path import DropPath
from mednext_cli.networks.baselines.nnformer.attention import SkipAttention, WindowAttention
from mednext_cli.networks.baselines.nnformer.windows import Windows
from mednext_cli.networks.patches import Patch

_EXPANSION = 4


def _tokens(image: Tensor) -> Tensor:
    return image.movedim(1, -1)


def _image(tokens: Tensor) -> Tensor:
    return tokens.movedim(-1, 1)


class _Block(nn.Module):
    """Attention and a perceptron, each a residual branch behind a norm."""

    def __init__(self, width: int, attention: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(width, _EXPANSION * width),
                act=nn.GELU(),
                fc2=nn.Linear(_EXPANSION * width, width),
            )
        )
        self._drop_path = DropPath(drop_path)

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self._drop_path(attended)
        finished: Tensor = x + self._drop_path(self.mlp(self.norm2(x)))
        return finished


class TransformerBlock(_Block):
    """Self-attention within windows, and a perceptron.

    Args:
        width: channels of a token.
        heads: of the attention.
        windows: how the grid is cut.
        distinct: see `position_rows`.
        drop_path: probability that a branch is left out in training.
    """

    def __init__(
        self, width: int, heads: int, windows: Windows, distinct: bool, drop_path: float
    ) -> None:
        super().__init__(width, WindowAttention(width, heads, windows, distinct), drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, C) to the same shape."""
        return self._finish(x, self.attn(self.norm1(x)))


class SkipBlock(_Block):
    """A block that looks from the decoder into the encoder; arguments as of `TransformerBlock`."""

    def __init__(
        self, width: int, heads: int, windows: Windows, distinct: bool, drop_path: float
    ) -> None:
        super().__init__(width, SkipAttention(width, heads, windows, distinct), drop_path)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Both (B, D, H, W, C), to the same shape; both go through the same norm, as published."""
        return self._finish(x + skip, self.attn(self.norm1(x), self.norm1(skip)))


class _Halving(nn.Module):
    """Two convolutions, the first with a stride; the last of an embedding has no norm behind it."""

    def __init__(self, channels: int, width: int, stride: Patch, last: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, width, 3, stride, padding=1)
        self.norm1 = nn.LayerNorm(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        self.norm2 = None if last else nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        image = _image(self.norm1(_tokens(F.gelu(self.conv1(image)))))
        image = self.conv2(image)
        return image if self.norm2 is None else _image(self.norm2(_tokens(F.gelu(image))))


class Embedding(nn.Module):
    """An image made tokens, by four convolutions.

    Args:
        channels: of the image.
        width: of a token.
        token_voxels: (D, H, W), 2 or 4 each; what the strides multiply to.
    """

    def __init__(self, channels: int, width: int, token_voxels: Patch) -> None:
        super().__init__()
        first, second = (2, 2, 2), tuple(voxels // 2 for voxels in token_voxels)
        self.proj1 = _Halving(channels, width // 2, first, last=False)
        self.proj2 = _Halving(width // 2, width, (second[0], second[1], second[2]), last=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, D, H, W) to tokens."""
        embedded: Tensor = self.norm(_tokens(self.proj2(self.proj1(image))))
        return embedded


class Downsampling(nn.Module):
    """Half the tokens along each axis, twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.reduction = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, C) to (B, D / 2, H / 2, W / 2, 2 C)."""
        return _tokens(self.reduction(_image(self.norm(F.gelu(x)))))


class Upsampling(nn.Module):
    """Twice the tokens along each axis, half the channels.

    Args:
        width: of the tokens it gives.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.up = nn.ConvTranspose3d(2 * width, width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, 2 width) to (B, 2 D, 2 H, 2 W, width)."""
        return _tokens(self.up(_image(self.norm(x))))


class Head(nn.Module):
    """Tokens to logits of every voxel they stand for."""

    def __init__(self, width: int, classes: int, token_voxels: Patch) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(width, classes, token_voxels, stride=token_voxels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, h, w, width) to (B, classes, D, H, W)."""
        logits: Tensor = self.up(_image(x))
        return logits
