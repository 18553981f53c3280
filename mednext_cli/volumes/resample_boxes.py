"""Linear interpolation of probabilities, as `resample.resample_probabilities`, of parts of a grid.

What a new voxel is made of lies between two old ones along each axis, so that boxes of the new grid
can be made as soon as the old voxels around them are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.banded import multiply, weights
from mednext_cli.volumes.resample import LINEAR, nearest_voxels, separate_axis

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Along:
    """One axis.

    Attributes:
        first: old voxel that each new one is made of, the first of them.
        last: the last of them.
        matrix: (new, old) weights; None where each new voxel is an old one.
    """

    first: NDArray[np.intp]
    last: NDArray[np.intp]
    matrix: Array | None = None

    @classmethod
    def linear(cls, old: int, new: int) -> "_Along":
        if old == new:
            return cls.picked(np.arange(new, dtype=np.intp))
        matrix = weights(old, new, LINEAR)
        used = matrix != 0
        return cls(used.argmax(axis=1), old - 1 - used[:, ::-1].argmax(axis=1), matrix)

    @classmethod
    def picked(cls, where: NDArray[np.intp]) -> "_Along":
        return cls(where, where)

    def apply(self, array: Array, axis: int, origin: int, rows: slice) -> Array:
        """New rows from an array whose first old voxel along the axis is `origin`."""
        start, stop = int(self.first[rows.start]), int(self.last[rows.stop - 1]) + 1
        part: Any = [slice(None)] * 3
        if self.matrix is None:
            part[axis] = self.first[rows] - origin
            if stop - start == rows.stop - rows.start:
                part[axis] = slice(start - origin, stop - origin)
            found: Array = array[tuple(part)]
            return found
        part[axis] = slice(start - origin, stop - origin)
        return multiply(self.matrix[rows, start:stop], array[tuple(part)], axis)


class BoxResampling:
    """From one grid to another, box by box.

    Args:
        shape: (D, H, W) of the old grid.
        new_shape: (D, H, W) of the new one.
        spacing_mm: of the old grid.
        new_spacing_mm: of the new one.
    """

    def __init__(
        self,
        shape: Sequence[int],
        new_shape: Sequence[int],
        spacing_mm: Sequence[float],
        new_spacing_mm: Sequence[float],
    ) -> None:
        separate = separate_axis(spacing_mm, new_spacing_mm)
        if tuple(shape) == tuple(new_shape):
            separate = None
        self._along = [
            _Along.picked(nearest_voxels(shape[axis], int(new_shape[axis])))
            if axis == separate
            else _Along.linear(shape[axis], int(new_shape[axis]))
            for axis in range(3)
        ]
        growth = [len(self._along[axis].first) / shape[axis] for axis in range(3)]
        self._order = sorted(range(3), key=growth.__getitem__)

    def interpolates(self, axis: int) -> bool:
        """Whether new voxels lie between two old ones along an axis."""
        return self._along[axis].matrix is not None

    def finished(self, axis: int, known: slice) -> slice:
        """New voxels along an axis whose last old one is among those that are `known`."""
        last = self._along[axis].last
        start, stop = np.searchsorted(last, (known.start, known.stop))
        return slice(int(start), int(stop))

    def touched(self, axis: int, old: slice) -> slice:
        """New voxels along an axis that some of the old ones are in."""
        start = np.searchsorted(self._along[axis].last, old.start)
        stop = np.searchsorted(self._along[axis].first, old.stop)
        return slice(int(start), int(stop))

    def make(self, array: Array, origin: Sequence[int], box: Sequence[slice]) -> Array:
        """A box of the new grid, not empty.

        Args:
            array: (d, h, w) of the old grid, with all that the box is made of.
            origin: where it begins.
            box: of the new grid.
        """
        for axis in self._order:
            array = self._along[axis].apply(array, axis, origin[axis], box[axis])
        return array
