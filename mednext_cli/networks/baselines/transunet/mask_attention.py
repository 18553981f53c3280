"""The layers of TransUNet's mask decoder: queries look at voxels, at each other, at themselves.

Modules carry the names of the published code, so that weights travel as they are. Tokens are
(B, tokens, width).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.attention import attend
from mednext_cli.networks.baselines.vision_transformer import LayerScale, join_heads, split_heads

_EXPANSION = 8  # of the feed-forward layer


class Attention(nn.Module):
    """Attention in several heads; its weights are those of `torch.nn.MultiheadAttention`.

    That class stores all attention weights while it trains; this one leaves them to
    `scaled_dot_product_attention`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """The shape of `query`; `mask` (B, 1, queries, keys) is True where it may look."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        queries, keys, values = (
            split_heads(F.linear(tokens, weight, bias), self._heads)
            for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        seen = attend(queries, keys, values, mask)
        mixed: Tensor = self.out_proj(join_heads(seen))
        return mixed


class CrossAttentionLayer(nn.Module):
    """Queries look at voxels."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        xavier(self)

    def forward(
        self, queries: Tensor, places: Tensor, voxels: Tensor, positions: Tensor, mask: Tensor
    ) -> Tensor:
        """Queries with what they saw.

        Args:
            queries: (B, queries, width); `places` is added to those that ask.
            places: (queries, width).
            voxels: (B, voxels, width); `positions` is added to those that are looked up.
            positions: (voxels, width).
            mask: (B, 1, queries, voxels), True where a query may look.
        """
        seen = self.multihead_attn(queries + places, voxels + positions, voxels, mask)
        mixed: Tensor = self.norm(queries + seen)
        return mixed


class SelfAttentionLayer(nn.Module):
    """Queries look at each other."""

    def __init__(self, width: int, heads: int, layer_scale: bool) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.ls1 = LayerScale(width) if layer_scale else nn.Identity()
        xavier(self)

    def forward(self, queries: Tensor, places: Tensor) -> Tensor:
        """The shape of `queries`; `places` (queries, width) is added to those that are compared."""
        placed = queries + places
        mixed: Tensor = self.norm(queries + self.ls1(self.self_attn(placed, placed, queries, None)))
        return mixed


class FeedForwardLayer(nn.Module):
    """Two linear layers with ReLU between them."""

    def __init__(self, width: int, layer_scale: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, _EXPANSION * width)
        self.linear2 = nn.Linear(_EXPANSION * width, width)
        self.norm = nn.LayerNorm(width)
        self.ls1 = LayerScale(width) if layer_scale else nn.Identity()
        xavier(self)

    def forward(self, queries: Tensor) -> Tensor:
        """The same shape."""
        # The scale is of the sum, shortcut included, as in the published code; LayerScale
        # (arXiv 2103.17239) is of what is added.
        branch = self.linear2(F.relu(self.linear1(queries)))
        mixed: Tensor = self.norm(self.ls1(queries + branch))
        return mixed


def xavier(module: nn.Module) -> None:
    """Draw all matrices of a module from Xavier's uniform distribution, as DETR does."""
    for weights in module.parameters():
        if weights.ndim > 1:
            nn.init.xavier_uniform_(weights)
