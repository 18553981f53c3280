"""In which order the tiles of an image are predicted, and which voxels are finished when.

Tiles go row by row along one axis and, within a row, column by column along a second. What no later
tile covers is a finished block; sums are kept of the open voxels only: of what one row shares with
the next, and of one column.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise, product

from mednext_cli.inference.tiling import window_starts
from mednext_cli.volumes.volume import Shape

Box = tuple[slice, slice, slice]
"""Along D, H and W."""
Axes = tuple[int, int]
"""Of the rows, and of the columns within a row: D and H, or H and D. W, along which voxels are
neighbours in memory, stays whole."""
_ORDERS: tuple[Axes, ...] = ((0, 1), (1, 0))


@dataclass(frozen=True)
class Tiling:
    """Tiles of one size over an image.

    Attributes:
        shape: (D, H, W) of the image.
        patch_voxels: (D, H, W) of a tile, in the image's own axes.
        overlap: share of a tile that the next one covers at least.
    """

    shape: Shape
    patch_voxels: Shape
    overlap: float

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """First voxel of each tile along each axis; below 0 where the image is smaller."""
        padded = [max(pair) for pair in zip(self.shape, self.patch_voxels, strict=True)]
        before = [(size - length) // 2 for size, length in zip(padded, self.shape, strict=True)]
        along = window_starts(padded, self.patch_voxels, self.overlap)
        return tuple(
            tuple(start - gap for start in starts)
            for starts, gap in zip(along, before, strict=True)
        )

    @property
    def count(self) -> int:
        """Tiles."""
        depth, height, width = map(len, self.starts)
        return depth * height * width

    def corners(self, axes: Axes) -> Iterator[tuple[int, Shape]]:
        """The column of every tile and its first voxel, column by column."""
        rows, columns = (self.starts[axis] for axis in axes)
        for index, (row, column) in enumerate(product(rows, columns)):
            for third in self.starts[2]:
                yield index, (row, column, third) if axes == (0, 1) else (column, row, third)

    def columns_before(self, axes: Axes, stops: Sequence[int]) -> int:
        """How many columns must be done until the voxels before two stops are finished.

        Args:
            axes: the order.
            stops: along the rows' and the columns' axis: all before the first stop, in the last of
                its rows only what is before the second.
        """
        rows, columns = (self.starts[axis] for axis in axes)
        row = sum(start < stops[0] for start in rows) - 1
        return row * len(columns) + sum(start < stops[1] for start in columns)

    def block_starts(self, axis: int) -> list[int]:
        """Where blocks begin along an axis: with the tiles, and in the last one about as far apart.

        There not less than half a tile: a scan that is hardly larger than a tile had a hundred.
        """
        starts, size = list(self.starts[axis]), self.patch_voxels[axis]
        if size >= self.shape[axis]:
            return starts
        step = self._block_size(axis)
        return [*starts, *range(starts[-1] + step, starts[-1] + size, step)]

    def edges(self, axis: int) -> tuple[int, ...]:
        """Where tiles begin or end along an axis, in the image and with its own ends."""
        size = self.patch_voxels[axis]
        ends = (start + size for start in self.starts[axis])
        return _edges(chain(self.starts[axis], ends), self.shape[axis])

    def count_open(self, axes: Axes) -> int:
        """About the most voxels whose sums are open at once, with the block that is taken out."""
        first, second = axes
        shared, step = self._shared_and_step(first)
        length = self.shape[second]
        open_ = shared * length + step * min(self.patch_voxels[second], length)
        block = self._block_size(first) * self._block_size(second) if self.count > 1 else 0
        return (open_ + block) * self.shape[2]

    def _block_size(self, axis: int) -> int:
        """The most voxels of a block along an axis."""
        _, step = self._shared_and_step(axis)
        return min(max(step, self.patch_voxels[axis] // 2), self.shape[axis])

    def _shared_and_step(self, axis: int) -> tuple[int, int]:
        """The most voxels that neighbouring tiles share along an axis, and that they are apart."""
        size = self.patch_voxels[axis]
        steps = [later - earlier for earlier, later in pairwise(self.starts[axis])]
        if not steps:
            return 0, self.shape[axis]
        return max(0, size - min(steps)), max(steps)


@dataclass(frozen=True)
class Sweep:
    """The blocks in which an image is finished, for all networks that are averaged.

    Attributes:
        shape: (D, H, W) of the image.
        axes: the order of the tiles.
        edges: of the blocks along these two axes, from 0 to the image's length.
    """

    shape: Shape
    axes: Axes
    edges: tuple[tuple[int, ...], tuple[int, ...]]

    def blocks(self) -> Iterator[tuple[Box, tuple[int, int]]]:
        """Every block in its turn, and where it stops along the two axes."""
        rows, columns = self.edges
        for (top, bottom), (left, right) in product(pairwise(rows), pairwise(columns)):
            along = (slice(top, bottom), slice(left, right))
            first, second = along if self.axes == (0, 1) else along[::-1]
            yield (first, second, slice(0, self.shape[2])), (bottom, right)


def choose_sweep(tilings: Sequence[Tiling]) -> Sweep:
    """The order in which the fewest voxels are open at once.

    Args:
        tilings: of the networks, over one image; those with the same one share their sums.
    """
    shape = tilings[0].shape
    axes = min(_ORDERS, key=lambda order: count_open(tilings, order))
    rows, columns = (
        _edges(chain.from_iterable(tiling.block_starts(axis) for tiling in tilings), shape[axis])
        for axis in axes
    )
    return Sweep(shape, axes, (rows, columns))


def count_open(tilings: Sequence[Tiling], axes: Axes) -> int:
    """About the most voxels whose sums are open at once, of all tilings together."""
    return sum(tiling.count_open(axes) for tiling in tilings)


def _edges(places: Iterable[int], length: int) -> tuple[int, ...]:
    return tuple(sorted({0, length, *(place for place in places if 0 < place < length)}))
