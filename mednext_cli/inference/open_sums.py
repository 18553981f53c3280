"""Weighted sums of tiles, kept only for voxels that some tile has reached and not yet left."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mednext_cli.foundation.devices import free_device_bytes, is_out_of_memory
from mednext_cli.foundation.memory import map_zeros
from mednext_cli.inference.sweep import Box, Sweep, Tiling

_SHARE = 0.5  # of a device's free memory that sums may take; the rest is for the tiles
Cell = tuple[int, int]
"""Counted along the two axes of the order."""


class OpenSums:
    """Probabilities of tiles, weighted and added up where the network leaves them.

    They lie on a GPU that has room for them beside its tiles, else in main memory. The image is
    cut where tiles or blocks begin or end along the two axes of their order, so that the memory of
    every cell is taken with its first tile and given back when it is taken out.

    Args:
        tiling: of the tiles.
        sweep: their order, and the blocks that are taken out.
    """

    def __init__(self, tiling: Tiling, sweep: Sweep) -> None:
        self._shape, self._axes = tiling.shape, sweep.axes
        self._edges = tuple(
            tuple(sorted({*tiling.edges(axis), *edges}))
            for axis, edges in zip(sweep.axes, sweep.edges, strict=True)
        )
        self._needed = tiling.count_open(sweep.axes)
        self._cells: dict[Cell, tuple[Tensor, Tensor]] = {}
        self._device: torch.device | None = None

    def add(self, corner: Sequence[int], values: Tensor, weights: Tensor) -> None:
        """Add to the sums; what lies outside the image is left out.

        Args:
            corner: first voxel.
            values: (K, d, h, w), weighted already.
            weights: (d, h, w).
        """
        if self._device is None:
            self._device = self._choose(values)
        stops = (start + size for start, size in zip(corner, weights.shape, strict=True))
        box = tuple(
            slice(max(0, start), min(stop, length))
            for start, stop, length in zip(corner, stops, self._shape, strict=True)
        )
        for cell in self._reached(box):
            place = self._place(cell)
            shared = tuple(
                slice(max(one.start, other.start), min(one.stop, other.stop))
                for one, other in zip(box, place, strict=True)
            )
            if cell not in self._cells:
                self._cells[cell] = self._open(len(values), place)
            total, norm = self._cells[cell]
            there = _shifted(shared, [part.start for part in place])
            here = _shifted(shared, corner)
            total[(slice(None), *there)] += values[(slice(None), *here)].to(total.device)
            norm[there] += weights[here].to(norm.device)

    def take_mean(self, box: Box) -> Tensor:
        """The mean (K, d, h, w) of a block that is finished; its memory is the caller's."""
        cells = list(self._reached(box))
        if len(cells) == 1:
            total, norm = self._cells.pop(cells[0])
            return total.div_(norm)
        count = len(self._cells[cells[0]][0])
        shape = (count, *(part.stop - part.start for part in box))
        mean = _zeros(shape, self._cells[cells[0]][0].device)
        for cell in cells:
            total, norm = self._cells.pop(cell)
            there = _shifted(self._place(cell), [part.start for part in box])
            torch.div(total.to(mean.device), norm.to(mean.device), out=mean[(slice(None), *there)])
        return mean

    def _reached(self, box: Sequence[slice]) -> Iterator[Cell]:
        rows, columns = (
            range(
                bisect_right(edges, box[axis].start) - 1,
                bisect_left(edges, box[axis].stop),
            )
            for axis, edges in zip(self._axes, self._edges, strict=True)
        )
        return ((row, column) for row in rows for column in columns)

    def _place(self, cell: Cell) -> Box:
        place = [slice(0, length) for length in self._shape]
        for axis, edges, index in zip(self._axes, self._edges, cell, strict=True):
            place[axis] = slice(edges[index], edges[index + 1])
        depth, height, width = place
        return depth, height, width

    def _choose(self, values: Tensor) -> torch.device:
        needed = torch.float32.itemsize * (len(values) + 1) * self._needed
        device = values.device
        fits = device.type == "cuda" and needed <= _SHARE * free_device_bytes(device)
        return device if fits else torch.device("cpu")

    def _open(self, count: int, place: Box) -> tuple[Tensor, Tensor]:
        assert self._device is not None  # noqa: S101 - chosen with the first tile
        shape = tuple(part.stop - part.start for part in place)
        return _zeros((count, *shape), self._device), _zeros(shape, self._device)


def _zeros(shape: Sequence[int], device: torch.device) -> Tensor:
    """Float32 on the device, or in main memory where it has no room after all."""
    if device.type != "cpu":
        try:
            return torch.zeros(tuple(shape), device=device)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
    return torch.from_numpy(map_zeros(shape))


def _shifted(box: Sequence[slice], origin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(
        slice(part.start - start, part.stop - start)
        for part, start in zip(box, origin, strict=True)
    )
