"""Cubes of tokens: which of them attend to each other.

Tokens are (B, D, H, W, C), and cut for attention (B x windows, heads, tokens, C / heads).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.networks.patches import Patch


@dataclass(frozen=True)
class Windows:
    """How a grid of tokens is cut.

    Attributes:
        grid: (D, H, W) tokens.
        edge: of a window, tokens.
        shift: how far the windows are moved along every axis, tokens.
    """

    grid: Patch
    edge: int
    shift: int

    @property
    def padded(self) -> Patch:
        """The grid with what fills its last windows."""
        depth, height, width = (-(-length // self.edge) * self.edge for length in self.grid)
        return depth, height, width

    @property
    def count(self) -> int:
        """How many windows there are."""
        return math.prod(self.padded) // self.edge**3

    def lay(self, x: Tensor) -> Tensor:
        """(B, D, H, W, C) padded with zeros behind, and moved so that windows begin at 0.

        As published, attention sees the zeros like any token.
        """
        missing = [full - length for full, length in zip(self.padded, self.grid, strict=True)]
        if any(missing):
            x = F.pad(x, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        return x.roll((-self.shift,) * 3, (1, 2, 3)) if self.shift else x

    def lift(self, x: Tensor) -> Tensor:
        """Undo `lay`."""
        if self.shift:
            x = x.roll((self.shift,) * 3, (1, 2, 3))
        depth, height, width = self.grid
        return x[:, :depth, :height, :width]

    def cut(self, x: Tensor, heads: int) -> Tensor:
        """(B, D, H, W, C) to (B x windows, heads, tokens, C / heads)."""
        batch, (depth, height, width) = x.shape[0], self._counts()
        edge, channels = self.edge, x.shape[-1] // heads
        x = x.reshape(batch, depth, edge, height, edge, width, edge, heads, channels)
        x = x.permute(0, 1, 3, 5, 7, 2, 4, 6, 8)
        return x.reshape(batch * self.count, heads, edge**3, channels)

    def join(self, x: Tensor) -> Tensor:
        """Undo `cut`."""
        (depth, height, width), edge = self._counts(), self.edge
        heads, channels = x.shape[1], x.shape[3]
        x = x.reshape(-1, depth, height, width, heads, edge, edge, edge, channels)
        x = x.permute(0, 1, 5, 2, 6, 3, 7, 4, 8)
        return x.reshape(-1, *self.padded, heads * channels)

    def _counts(self) -> Sequence[int]:
        return [length // self.edge for length in self.padded]

    def regions(self) -> Tensor:
        """(windows, tokens): tokens of a moved window with different numbers were far apart."""
        depth, height, width = (self._parts(length) for length in self.padded)
        parts = 9 * depth[:, None, None] + 3 * height[:, None] + width
        return self.cut(parts[None, ..., None], heads=1).reshape(self.count, -1)

    def _parts(self, length: int) -> Tensor:
        """0, then 1 in the last window, then 2 in what was moved there from the other end."""
        place = torch.arange(length)
        return (place >= length - self.edge).int() + (place >= length - self.shift).int()


def fitted_windows(grid: Patch, edge: int, moved: bool) -> Windows:
    """Windows of this edge, or of the grid's shortest where that is no longer; those never move."""
    shortest = min(grid)
    if shortest <= edge:
        return Windows(grid, shortest, 0)
    return Windows(grid, edge, edge // 2 if moved else 0)


def position_rows(edge: int, distinct: bool) -> Tensor:
    """(tokens, tokens): row in the table of biases for each pair of a window's tokens.

    Args:
        edge: of the window, tokens.
        distinct: give every relative position its own row, as the published code does not.
    """
    axis = torch.arange(edge)
    places = torch.cartesian_prod(axis, axis, axis).reshape(-1, 3)
    apart = places[:, None] - places[None] + edge - 1
    span = 2 * edge - 1
    strides = (span**2, span, 1) if distinct else (3 * edge - 1, span, 1)
    return (apart * torch.tensor(strides)).sum(-1)
