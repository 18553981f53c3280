"""How a map is cut into windows, and which voxels of a window see each other.

Source: Swin, arXiv 2103.14030, section 3.2, in two or three dimensions. No window is larger than
the map; an axis that one window covers is not shifted. Where windows reach beyond the map, what
fills them is seen by no voxel of it. Maps are (B, D, H, W, C) or (B, H, W, C) here.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

_INSIDE, _CARRIED, _BEYOND = range(3)


@dataclass(frozen=True)
class Box:
    """Neighbouring windows in which the same places see each other.

    Attributes:
        parts: of the laid map's axes, voxels.
        regions: for each axis the region of each place in a window; places see each other whose
            regions are the same along every axis.
    """

    parts: tuple[slice, ...]
    regions: tuple[tuple[int, ...], ...]

    def hidden(self, device: torch.device) -> Tensor | None:
        """(places, places): True where the row's does not see the column's; None where all do."""
        if all(len(set(axis)) == 1 for axis in self.regions):
            return None
        regions = _crossed([torch.tensor(axis, device=device) for axis in self.regions])
        return (regions[:, None] != regions[None]).any(-1)


@dataclass(frozen=True)
class Windows:
    """How a map is cut.

    Attributes:
        sizes: of the map along each axis, voxels.
        window: of one window, voxels.
        shift: by how much the windows are moved, voxels.
    """

    sizes: tuple[int, ...]
    window: tuple[int, ...]
    shift: tuple[int, ...]

    @classmethod
    def of(cls, sizes: tuple[int, ...], edge: int, shifted: bool) -> "Windows":
        """Windows of this edge, moved by half of it or not."""
        window = tuple(min(edge, size) for size in sizes)
        return cls(sizes, window, tuple(edge // 2 if shifted and s > edge else 0 for s in sizes))

    @property
    def axes(self) -> tuple[int, ...]:
        """Of a map, those in space."""
        return tuple(range(1, len(self.sizes) + 1))

    def lay(self, x: Tensor) -> Tensor:
        """A map filled up to whole windows, and moved so that the first begins at 0."""
        missing = [-size % edge for size, edge in zip(self.sizes, self.window, strict=True)]
        if any(missing):
            x = F.pad(x, (0, 0, *(part for more in reversed(missing) for part in (0, more))))
        return x.roll([-shift for shift in self.shift], self.axes) if any(self.shift) else x

    def lift(self, x: Tensor) -> Tensor:
        """Undo `lay`."""
        if any(self.shift):
            x = x.roll(self.shift, self.axes)
        for axis, size in zip(self.axes, self.sizes, strict=True):
            x = x.narrow(axis, 0, size)
        return x

    def boxes(self) -> list[Box]:
        """The parts of the laid map, the last axis fastest."""
        cuts = product(*self._cuts())
        return [Box(tuple(c[0] for c in cut), tuple(c[1] for c in cut)) for cut in cuts]

    def _cuts(self) -> list[list[tuple[slice, tuple[int, ...]]]]:
        return [_cut(*axis) for axis in zip(self.sizes, self.window, self.shift, strict=True)]

    def join(self, boxes: list[Tensor]) -> Tensor:
        """The laid map of its parts, which are in the order of `boxes`."""
        for axis, cut in reversed(list(zip(self.axes, self._cuts(), strict=True))):
            starts = range(0, len(boxes), len(cut))
            boxes = [torch.cat(boxes[start : start + len(cut)], axis) for start in starts]
        return boxes[0]

    def split(self, x: Tensor) -> Tensor:
        """Part of a map (B, D, H, W, C) to its windows (B x windows, places, C)."""
        edges, dimensions = self.window, len(self.window)
        counts = [size // edge for size, edge in zip(x.shape[1:-1], edges, strict=True)]
        pairs = [size for pair in zip(counts, edges, strict=True) for size in pair]
        cut = x.reshape(x.shape[0], *pairs, x.shape[-1])
        outer, inner = range(1, 2 * dimensions, 2), range(2, 2 * dimensions + 1, 2)
        return cut.permute(0, *outer, *inner, -1).flatten(0, dimensions).flatten(1, -2)

    def merge(self, windows: Tensor, sizes: torch.Size) -> Tensor:
        """Undo `split`.

        Args:
            windows: (B x windows, places, C).
            sizes: B, D, H, W of the part.
        """
        edges, dimensions = self.window, len(self.window)
        counts = [size // edge for size, edge in zip(sizes[1:], edges, strict=True)]
        cut = windows.reshape(sizes[0], *counts, *edges, windows.shape[-1])
        order = [axis for one in self.axes for axis in (one, one + dimensions)]
        return cut.permute(0, *order, -1).reshape(*sizes, windows.shape[-1])

    def rows(self, edge: int, device: torch.device) -> Tensor:
        """(places, places): row in the table of biases for each two places of a window.

        Args:
            edge: of the window that the table is of, at least as large as these.
            device: to put it on.
        """
        places = _crossed([torch.arange(size, device=device) for size in self.window])
        span = 2 * edge - 1
        steps = [span**power for power in reversed(range(len(self.window)))]
        offsets = places[:, None] - places[None] + edge - 1
        return (offsets * torch.tensor(steps, device=device)).sum(-1)


def _crossed(axes: list[Tensor]) -> Tensor:
    """(places, axes), as `torch.cartesian_prod`, which OpenVINO has not."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)


def _cut(size: int, edge: int, shift: int) -> list[tuple[slice, tuple[int, ...]]]:
    """Parts of a laid axis whose windows have the same regions, and these."""
    whole = -(-size // edge) * edge
    regions = [_region(place + shift, size, whole) for place in range(whole)]
    cuts: list[tuple[slice, tuple[int, ...]]] = []
    for start in range(0, whole, edge):
        own = tuple(regions[start : start + edge])
        if cuts and cuts[-1][1] == own:
            cuts[-1] = (slice(cuts[-1][0].start, start + edge), own)
        else:
            cuts.append((slice(start, start + edge), own))
    return cuts


def _region(place: int, size: int, whole: int) -> int:
    """Of a place before the map was moved; from `whole` on, what was carried behind the end."""
    if place >= whole:
        return _CARRIED
    return _BEYOND if place >= size else _INSIDE
