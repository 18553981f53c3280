"""Voxels of finished blocks that the interpolation of the next ones needs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.resample_boxes import BoxResampling

Array = NDArray[np.float32]


class Neighbours:
    """The last voxels of the row of blocks before, and of the block before in the row.

    Args:
        count: arrays a block has.
        shape: (D, H, W) of the image.
        axes: of the rows of blocks, and of the blocks within a row.
        resampling: which tells along which of them voxels are interpolated.
    """

    def __init__(
        self, count: int, shape: Sequence[int], axes: tuple[int, int], resampling: BoxResampling
    ) -> None:
        self._axes = axes
        self._needed = [resampling.interpolates(axis) for axis in axes]
        self._above: list[Array] = []
        if self._needed[0]:
            row = (shape[axes[1]], shape[2])
            self._above = [np.empty(row, dtype=np.float32) for _ in range(count)]
        self._beside: list[Array | None] = [None] * count

    def extend(self, index: int, box: Sequence[slice], block: Array) -> tuple[Array, list[int]]:
        """An array of a block with the voxels before it, and where it begins then.

        Args:
            index: of the array.
            box: where the block is; blocks come in their order.
            block: (d, h, w).
        """
        first, second = self._axes
        before = [
            int(needed and box[axis].start > 0)
            for axis, needed in zip(self._axes, self._needed, strict=True)
        ]
        origin = [part.start for part in box]
        shape = list(block.shape)
        for axis, more in zip(self._axes, before, strict=True):
            origin[axis] -= more
            shape[axis] += more
        extended = block if not any(before) else np.empty(shape, dtype=np.float32)
        # Rows, columns and W; these are views.
        inner, outer = (np.moveaxis(array, first, 0) for array in (block, extended))
        if any(before):
            outer[before[0] :, before[1] :] = inner
        if before[0]:
            outer[0, before[1] :] = self._above[index][box[second]]
        if before[1]:
            outer[:, 0] = self._beside[index]
        if self._needed[0]:
            self._above[index][box[second]] = inner[-1]
        if self._needed[1]:
            self._beside[index] = outer[:, -1].copy()
        return extended, origin
