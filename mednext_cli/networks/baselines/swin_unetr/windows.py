"""Windows of tokens: how a map is cut into them, and which tokens of a window see each other.

Source: arXiv 2103.14030, section 3.2, in three dimensions.
"""

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

Sizes = tuple[int, int, int]
_FAR = -100.0  # added to the logits of tokens that do not see each other, as published
_AXES = (1, 2, 3)  # D, H, W of a map (B, D, H, W, C)


@dataclass(frozen=True)
class Box:
    """Windows of one map that all have the same mask, as a part of the map.

    Attributes:
        parts: of the map's axes D, H, W.
        mixed: for each axis, whether its windows hold tokens of both ends of the map.
    """

    parts: tuple[slice, slice, slice]
    mixed: tuple[bool, bool, bool]


@dataclass(frozen=True)
class Windows:
    """How a map is cut.

    Attributes:
        sizes: of the map, tokens.
        window: of one window, tokens; no larger than the map.
        shift: tokens by which the map is rolled before it is cut.
    """

    sizes: Sizes
    window: Sizes
    shift: Sizes

    @classmethod
    def of(cls, sizes: Sizes, edge: int, shifted: bool) -> "Windows":
        """Cubes of this edge; an axis that one of them covers is not shifted."""
        window = tuple(min(edge, size) for size in sizes)
        shift = tuple(edge // 2 if shifted and size > edge else 0 for size in sizes)
        return cls(sizes, (window[0], window[1], window[2]), (shift[0], shift[1], shift[2]))

    def arrange(self, tokens: Tensor) -> Tensor:
        """A map (B, D, H, W, C) filled up with zeros to whole windows, and rolled."""
        missing = [-size % edge for size, edge in zip(self.sizes, self.window, strict=True)]
        filled = F.pad(tokens, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        if not any(self.shift):
            return filled
        return torch.roll(filled, [-shift for shift in self.shift], _AXES)

    def put_back(self, tokens: Tensor) -> Tensor:
        """Undo `arrange`."""
        if any(self.shift):
            tokens = torch.roll(tokens, self.shift, _AXES)
        depth, height, width = self.sizes
        return tokens[:, :depth, :height, :width]

    def cuts(self) -> list[list[tuple[slice, bool]]]:
        """The parts of each axis, and whether their windows are mixed.

        Rolling brings the map's beginning behind its end: into the last window of the axis.
        """
        cuts = []
        for size, edge, shift in zip(self.sizes, self.window, self.shift, strict=True):
            whole = -(-size // edge) * edge
            last = [(slice(0, whole - edge), False), (slice(whole - edge, whole), True)]
            cuts.append(last if shift else [(slice(0, whole), False)])
        return cuts

    def boxes(self) -> list[Box]:
        """Parts of the arranged map, W fastest; within one all windows have the same mask."""
        return [Box((d[0], h[0], w[0]), (d[1], h[1], w[1])) for d, h, w in product(*self.cuts())]

    def join(self, boxes: list[Tensor]) -> Tensor:
        """The arranged map of its parts, which are in the order of `boxes`."""
        for axis, cut in zip(reversed(_AXES), reversed(self.cuts()), strict=True):
            count = len(cut)
            boxes = [
                torch.cat(boxes[start : start + count], axis)
                for start in range(0, len(boxes), count)
            ]
        return boxes[0]

    def split(self, box: Tensor) -> Tensor:
        """Part of a map (B, D, H, W, ...) to windows (B x windows, tokens, ...)."""
        batch, rest = box.shape[0], box.shape[4:]
        counts = [size // edge for size, edge in zip(box.shape[1:4], self.window, strict=True)]
        cut = box.reshape(batch, *_interleave(counts, self.window), *rest)
        ordered = cut.permute(0, 1, 3, 5, 2, 4, 6, *range(7, cut.ndim))
        return ordered.reshape(-1, self.window[0] * self.window[1] * self.window[2], *rest)

    def merge(self, windows: Tensor, sizes: torch.Size) -> Tensor:
        """Windows (B x windows, tokens, C) to the part (B, D, H, W, C) of a map.

        Args:
            windows: as `split` gave them.
            sizes: B, D, H, W of the part.
        """
        counts = [size // edge for size, edge in zip(sizes[1:], self.window, strict=True)]
        cut = windows.reshape(sizes[0], *counts, *self.window, -1)
        return cut.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(*sizes, -1)

    def mask(self, mixed: tuple[bool, bool, bool], like: Tensor) -> Tensor:
        """What is added to the logits of a mixed window: (tokens, tokens).

        Args:
            mixed: of the box.
            like: has the type and device.
        """
        ends = [
            torch.arange(edge, device=like.device) >= (edge - shift if mix else edge)
            for edge, shift, mix in zip(self.window, self.shift, mixed, strict=True)
        ]
        token = torch.stack(torch.meshgrid(*ends, indexing="ij"), -1).reshape(-1, len(ends))
        apart = (token[:, None] != token[None]).any(-1)
        return apart.to(like.dtype) * _FAR


def _interleave(counts: list[int], window: Sizes) -> list[int]:
    return [size for pair in zip(counts, window, strict=True) for size in pair]


def relative_position_index(edge: int) -> Tensor:
    """Row of the table of biases for every two tokens of a window: (edge^3, edge^3)."""
    axis = torch.arange(edge)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    offsets = places[:, :, None] - places[:, None] + edge - 1  # each 0 to 2 edge - 2
    span = 2 * edge - 1
    return (offsets[0] * span + offsets[1]) * span + offsets[2]
