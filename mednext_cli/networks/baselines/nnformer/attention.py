"""Attention among the tokens of a window; tokens are (B, D, H, W, C)."""

import torch
from torch import Tensor, nn

from mednext_cli.networks.attention import attend
from mednext_cli.networks.baselines.nnformer.windows import Windows, position_rows

_FAR = -100.0  # added to what does not attend; as published, not infinity
_SPREAD = 0.02


class _Attention(nn.Module):
    """What both kinds share: a bias for each relative position, and the last projection."""

    def __init__(self, width: int, heads: int, windows: Windows, distinct: bool) -> None:
        super().__init__()
        self._windows, self._heads = windows, heads
        self.relative_position_bias_table = nn.Parameter(
            torch.empty((2 * windows.edge - 1) ** 3, heads)
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=_SPREAD)
        self.proj = nn.Linear(width, width)
        self.register_buffer("_rows", position_rows(windows.edge, distinct), persistent=False)
        regions = windows.regions() if windows.shift else None
        self.register_buffer("_regions", regions, persistent=False)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Of tokens laid under the windows, to tokens in their places."""
        windows = self._windows
        bias = self._bias(len(query)).to(key.dtype)
        query, key, value = (windows.cut(part, self._heads) for part in (query, key, value))
        attended = attend(query, key, value, bias)
        projected: Tensor = self.proj(windows.lift(windows.join(attended)))
        return projected

    def _bias(self, batch: int) -> Tensor:
        """(1 or B x windows, heads, tokens, tokens)."""
        rows, regions = self.get_buffer("_rows"), self._regions
        bias = self.relative_position_bias_table[rows].permute(2, 0, 1)[None]
        if not isinstance(regions, Tensor):
            return bias
        far = (regions[:, None, :] != regions[:, :, None]) * _FAR
        return (bias + far[:, None]).repeat(batch, 1, 1, 1)


class WindowAttention(_Attention):
    """Self-attention within windows.

    Args:
        width: channels of a token.
        heads: that share the channels.
        windows: how the grid is cut.
        distinct: see `position_rows`.

    Source: arXiv 2103.14030, section 3.2, in three dimensions.
    """

    def __init__(self, width: int, heads: int, windows: Windows, distinct: bool) -> None:
        super().__init__(width, heads, windows, distinct)
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, C) to the same shape."""
        query, key, value = self.qkv(self._windows.lay(x)).chunk(3, dim=-1)
        return self._attend(query, key, value)


class SkipAttention(_Attention):
    """What comes from below asks the encoder's tokens of the same window.

    Source: arXiv 2109.03201, section 3.4; as in its code, queries are the tokens themselves,
    without a projection. Arguments as of `WindowAttention`.
    """

    def __init__(self, width: int, heads: int, windows: Windows, distinct: bool) -> None:
        super().__init__(width, heads, windows, distinct)
        self.kv = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Both (B, D, H, W, C), to the same shape."""
        key, value = self.kv(self._windows.lay(skip)).chunk(2, dim=-1)
        return self._attend(self._windows.lay(x).to(key.dtype), key, value)
