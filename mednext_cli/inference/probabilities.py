"""``CASE_probabilities.h5``: probabilities on a scan's own grid, written while they are made.

The dataset ``probabilities`` (K, X, Y, Z), float16, in the scan file's own order of axes, deflated
(any HDF5 reads that); and the attributes below.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.latched import LatchedFile
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.crop import slices_of
from mednext_cli.volumes.formats.dicom_objects import Origin
from mednext_cli.volumes.orientation import (
    contiguous,
    file_axes,
    place_from_canonical,
    turned_back,
)

FORMAT, VERSION = "mednext probabilities", 1
DATASET = "probabilities"
# Attributes.
AFFINE = "affine"  # (4, 4), voxel indices (X, Y, Z) to mm in RAS world space
SPACING = "spacing_mm"  # (3,), along X, Y, Z
NAMES = "names"  # (K,), of the classes with the background, or of the regions
VALUES = "values"  # (K,), what label maps hold for them
KIND, CLASSES, REGIONS = "kind", "classes", "regions"
# Of a chunk of 256 KiB: rows, as slabs of any thickness rewrite few of them, and voxels along a
# column, of which a block has all; the rest are columns, of which those that fill no chunk wait.
_ROWS, _ALONG, _VOXELS = 8, 512, 2**17
# Of blosc, lz4 and zstd, which the cache uses, only h5py with a plugin reads files.
_FILTER = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def columns_of_chunk(along: int) -> int:
    """How many columns a chunk has, of so many voxels each."""
    return _VOXELS // (_ROWS * min(along, _ALONG))


class ProbabilitiesWriter:
    """Takes probabilities on the canonical grid, by class or of all, in any order, each once.

    Of the cropped box alone: outside of it, it is background for certain.

    Args:
        array: (K, X, Y, Z) to be filled.
        geometry: of the case.
        labels: whether they are classes or regions.
        axes: canonical axes (0 for D, 1 for H, 2 for W), of the rows and of the columns in a row.
        check: raises what the disk said to the last write.
    """

    def __init__(
        self,
        array: h5py.Dataset,
        geometry: SourceGeometry,
        labels: LabelSet,
        axes: tuple[int, int],
        check: Callable[[], None],
    ) -> None:
        self._check = check
        self._array, self._grid, self._axes = array, geometry.file_grid, axes
        self._shape = geometry.canonical_shape
        self._box = slices_of(geometry.box)
        self._certain = None if labels.region_training else 0
        given = (len(array), *(geometry.cropped_shape[axis] for axis in axes))
        self._given = np.zeros(given, dtype=np.bool_)

    @property
    def rows(self) -> int:
        """How many there are along the first axis, in the cropped box."""
        return int(self._given.shape[1])

    @property
    def columns(self) -> int:
        """How many there are along the second."""
        return int(self._given.shape[2])

    def whole_chunks(self, columns: int) -> int:
        """How many of the first columns fill their chunks of the file."""
        if columns == self.columns:
            return columns
        axis = self._axes[1]
        of_file, against = next(
            (of, against) for of, (one, against) in enumerate(file_axes(self._grid)) if one == axis
        )
        place = self._box[axis].start + columns
        past: int = (place - self._shape[axis] if against else place) % self._array.chunks[
            1 + of_file
        ]
        return max(columns - past, 0)

    def write(
        self,
        index: int | None,
        rows: slice,
        scores: NDArray[np.floating[Any]],
        columns: slice | None = None,
    ) -> None:
        """Write some rows, or columns of them.

        Args:
            index: of the class or region; None for all.
            rows: start and stop along their axis; row 0 is the first of the cropped box.
            scores: (D, H, W) in canonical order, or (K, D, H, W) of all: of the rows and columns
                along their axes, of the whole box along the third.
            columns: start and stop, likewise; None for all.

        Raises:
            ValueError: they have another shape, or are written already.
            OSError: the disk refuses.
        """
        if index is None:
            for number, one in enumerate(scores):
                self.write(number, rows, one, columns)
            return
        columns = slice(0, self.columns) if columns is None else columns
        expected = [part.stop - part.start for part in self._box]
        for axis, part in zip(self._axes, (rows, columns), strict=True):
            expected[axis] = part.stop - part.start
        given = self._given[index, rows, columns]
        if scores.shape != tuple(expected) or given.shape != tuple(expected[a] for a in self._axes):
            raise ValueError(f"{scores.shape} are not {self._told(rows, columns)} of the box")
        if given.any():
            raise ValueError(f"{self._told(rows, columns)} of class {index} are written")
        self._place(index, *self._with_margins(index, rows, columns, scores))
        given[:] = True

    def finish(self) -> None:
        """Write what lies outside of the box.

        Raises:
            ValueError: rows are missing. OSError: the disk refuses.
        """
        if not self._given.all():
            index, row, _ = np.argwhere(~self._given)[0]
            raise ValueError(f"row {row} of class {index} was never written")
        axis, region = self._axes[0], [slice(0, length) for length in self._shape]
        box = self._box[axis]
        for start, stop in ((0, box.start), (box.stop, self._shape[axis])):
            for first in range(start, stop, _ROWS):
                region[axis] = slice(first, min(first + _ROWS, stop))
                for index in range(len(self._array)):
                    self._place(index, region, self._outside(index, region))

    def _told(self, rows: slice, columns: slice) -> str:
        told = f"rows {rows.start} to {rows.stop}"
        whole = (columns.start, columns.stop) == (0, self.columns)
        return told if whole else f"columns {columns.start} to {columns.stop} of {told}"

    def _with_margins(
        self, index: int, rows: slice, columns: slice, scores: NDArray[np.floating[Any]]
    ) -> tuple[list[slice], NDArray[np.float16]]:
        """Their place in the whole grid, and they with what is beside the box there."""
        region = [slice(0, length) for length in self._shape]
        inner = list(self._box)
        (first, second), box = self._axes, self._box
        region[first] = slice(box[first].start + rows.start, box[first].start + rows.stop)
        inner[first] = slice(None)
        start, stop = (box[second].start + edge for edge in (columns.start, columns.stop))
        low = 0 if columns.start == 0 else start
        high = self._shape[second] if columns.stop == self.columns else stop
        region[second], inner[second] = slice(low, high), slice(start - low, stop - low)
        whole = self._outside(index, region)
        whole[tuple(inner)] = scores
        return region, whole

    def _outside(self, index: int, region: list[slice]) -> NDArray[np.float16]:
        """A part of the grid, as it is outside of the box."""
        shape = [part.stop - part.start for part in region]
        return np.full(shape, 1.0 if index == self._certain else 0.0, dtype=np.float16)

    def _place(self, index: int, region: list[slice], scores: NDArray[np.float16]) -> None:
        place = place_from_canonical((region[0], region[1], region[2]), self._grid)
        self._array[(index, *place)] = contiguous(turned_back(scores, self._grid))
        self._check()


@contextmanager
def write_probabilities(
    path: Path,
    geometry: SourceGeometry,
    labels: LabelSet,
    origin: Origin,
    axes: tuple[int, int] = (0, 1),
) -> Iterator[ProbabilitiesWriter]:
    """Write a file of probabilities; it takes its place when the block ends and it is whole.

    Args:
        path: the file.
        geometry: of the case.
        labels: what the probabilities are of.
        origin: by what they were made.
        axes: of rows and columns, see `ProbabilitiesWriter`.

    Raises:
        StorageError: the disk refuses. ValueError: rows are missing.
    """
    with replacing(path) as beside, LatchedFile(beside) as stream:
        try:
            # Every write is of whole chunks, or nearly: none is worth keeping.
            with h5py.File(stream, "w", libver="v110", rdcc_nbytes=0) as file:
                array = _create(file, geometry, labels, origin, axes)
                writer = ProbabilitiesWriter(array, geometry, labels, axes, stream.check)
                yield writer
                writer.finish()
        except Exception:
            stream.check()  # what the disk said, rather than what HDF5 made of it
            raise
        stream.close()
        stream.check()


def _create(
    file: h5py.File,
    geometry: SourceGeometry,
    labels: LabelSet,
    origin: Origin,
    axes: tuple[int, int],
) -> h5py.Dataset:
    grid, names = geometry.file_grid, labels.output_names
    attributes = {
        "format": FORMAT,
        "version": VERSION,
        AFFINE: grid.affine,
        SPACING: grid.spacing_mm,
        KIND: REGIONS if labels.region_training else CLASSES,
        NAMES: np.array(names, dtype=h5py.string_dtype()),
        VALUES: np.array(labels.output_values, dtype=np.int64),
        "task": origin.name,
        "models": np.array(origin.models, dtype=h5py.string_dtype()),
        "mednext": origin.version,
    }
    for name, value in attributes.items():
        file.attrs[name] = value
    (third,) = {0, 1, 2} - set(axes)
    columns = columns_of_chunk(geometry.canonical_shape[third])
    sides = dict(zip(axes, (_ROWS, columns), strict=True))
    longest = [sides.get(axis, _ALONG) for axis, _ in file_axes(grid)]
    chunks = (1, *map(min, longest, grid.shape))
    shape = (len(names), *grid.shape)
    return file.create_dataset(DATASET, shape, np.float16, chunks=chunks, **_FILTER)
