"""The vision transformer of TransUNet, in two dimensions and in three.

Modules carry the names of the published code, so that weights travel as they are.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.attention import attend

_EPSILON = 1e-6  # of the layer norms
_LAYER_SCALE = 1e-5  # at the beginning


class VisionTransformer(nn.Module):
    """Every voxel of a feature map is a token; they attend to each other.

    Args:
        in_channels: of the feature map.
        grid: voxels of the feature map along each axis, two or three; it is tied to them by its
            learned table of positions.
        layers: attention and perceptron, so many times.
        width: channels of a token.
        mlp_width: of the perceptron's hidden layer.
        heads: of the attention.
        dropout: probability, of tokens and in the perceptron.
        scale_shortcut: see `Block`.

    Source: arXiv 2010.11929 (ViT-B/16), as arXiv 2102.04306 and 2310.07781 put it into a U-Net.
    """

    def __init__(
        self,
        in_channels: int,
        grid: tuple[int, ...],
        *,
        layers: int,
        width: int,
        mlp_width: int,
        heads: int,
        dropout: float,
        scale_shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(in_channels, grid, width, dropout)
        blocks = (Block(width, mlp_width, heads, dropout, scale_shortcut) for _ in range(layers))
        self.encoder = Encoder(blocks, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, ...) to (B, width, ...) on the same grid."""
        tokens: Tensor = self.encoder(self.embeddings(features))
        return tokens.transpose(1, 2).reshape(len(tokens), -1, *features.shape[2:])


class Encoder(nn.Module):
    """One block after the other, and a layer norm, on (B, tokens, width)."""

    def __init__(self, blocks: Iterable["Block"], width: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(blocks)
        self.encoder_norm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape."""
        for block in self.layer:
            tokens = block(tokens)
        normalised: Tensor = self.encoder_norm(tokens)
        return normalised


class Embeddings(nn.Module):
    """Tokens of voxels, and where they are."""

    def __init__(self, in_channels: int, grid: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        pointwise = {2: nn.Conv2d, 3: nn.Conv3d}[len(grid)]
        self.patch_embeddings = pointwise(in_channels, width, 1)
        tokens = torch.Size(grid).numel()
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, ...) to (B, tokens, width)."""
        tokens: Tensor = self.patch_embeddings(features).flatten(2).transpose(1, 2)
        embedded: Tensor = self.dropout(tokens + self.position_embeddings)
        return embedded


class Block(nn.Module):
    """Attention and perceptron, each normalised first and added to its input.

    Args:
        width: channels of a token.
        mlp_width: of the perceptron's hidden layer.
        heads: of the attention.
        dropout: probability, in the perceptron.
        scale_shortcut: multiply the input that is added, not what is added to it, by a learned
            scale that begins at 1e-5. That is LayerScale (arXiv 2103.17239) the wrong way round,
            and what every configuration of the published 3D TransUNet trains.
    """

    def __init__(
        self, width: int, mlp_width: int, heads: int, dropout: float, scale_shortcut: bool
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.ffn_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.ffn = Perceptron(width, mlp_width, dropout)
        self.attn = SelfAttention(width, heads)
        self.ls1 = LayerScale(width) if scale_shortcut else nn.Identity()
        self.ls2 = LayerScale(width) if scale_shortcut else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, tokens, width)."""
        tokens = self.attn(self.attention_norm(tokens)) + self.ls1(tokens)
        added: Tensor = self.ffn(self.ffn_norm(tokens)) + self.ls2(tokens)
        return added


class LayerScale(nn.Module):
    """A learned factor for each channel of (..., width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), _LAYER_SCALE))

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape."""
        return tokens * self.gamma


class SelfAttention(nn.Module):
    """Attention of (B, tokens, width) to themselves in several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape."""
        query, key, value = (
            split_heads(layer(tokens), self._heads) for layer in (self.query, self.key, self.value)
        )
        mixed = attend(query, key, value)
        attended: Tensor = self.out(join_heads(mixed))
        return attended


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, tokens, width) to (B, heads, tokens, width / heads)."""
    batch, count, width = tokens.shape
    return tokens.view(batch, count, heads, width // heads).transpose(1, 2)


def join_heads(tokens: Tensor) -> Tensor:
    """(B, heads, tokens, width / heads) to (B, tokens, width)."""
    return tokens.transpose(1, 2).flatten(2)


class Perceptron(nn.Module):
    """Two layers with GELU between them, from (..., width) to (..., width)."""

    def __init__(self, width: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, mlp_width)
        self.fc2 = nn.Linear(mlp_width, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape."""
        hidden = self.dropout(F.gelu(self.fc1(tokens)))
        mixed: Tensor = self.dropout(self.fc2(hidden))
        return mixed
