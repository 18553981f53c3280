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
# Rows of a chunk: slabs of any thickness rewrite few of them, and HDF5 copies a row's voxels of a
# chunk at once. The other sides keep a chunk at 256 KiB.
_ROWS, _ACROSS = 8, 128
# Of blosc, lz4 and zstd, which the cache uses, only h5py with a plugin reads files.
_FILTER = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


class ProbabilitiesWriter:
    """Takes probabilities on the canonical grid, by class or by slab, in any order, each once.

    Of the cropped box alone: outside of it, it is background for certain.

    Args:
        array: (K, X, Y, Z) to be filled.
        geometry: of the case.
        labels: whether they are classes or regions.
        axis: canonical axis (0 for D, 1 for H, 2 for W) whose rows are given.
        check: raises what the disk said to the last write.
    """

    def __init__(
        self,
        array: h5py.Dataset,
        geometry: SourceGeometry,
        labels: LabelSet,
        axis: int,
        check: Callable[[], None],
    ) -> None:
        self._check = check
        self._array, self._grid, self._axis = array, geometry.file_grid, axis
        self._shape = geometry.canonical_shape
        self._box = slices_of(geometry.box)
        self._certain = None if labels.region_training else 0
        self._given = np.zeros((len(array), geometry.cropped_shape[axis]), dtype=np.bool_)

    @property
    def rows(self) -> int:
        """How many there are along the axis, in the cropped box."""
        return int(self._given.shape[1])

    def write(self, index: int | None, rows: slice, scores: NDArray[np.floating[Any]]) -> None:
        """Write some rows.

        Args:
            index: of the class or region; None for all.
            rows: start and stop along the axis; row 0 is the first of the cropped box.
            scores: (D, H, W) in canonical order, or (K, D, H, W) of all: of the rows along their
                axis, of the whole box along the others.

        Raises:
            ValueError: they have another shape, or are written already.
            OSError: the disk refuses.
        """
        if index is None:
            for number, one in enumerate(scores):
                self.write(number, rows, one)
            return
        first = self._box[self._axis].start
        expected = [part.stop - part.start for part in self._box]
        expected[self._axis] = rows.stop - rows.start
        given = self._given[index, rows]
        if scores.shape != tuple(expected) or len(given) != len(range(*rows.indices(self.rows))):
            raise ValueError(f"{scores.shape} are not rows {rows.start} to {rows.stop} of the box")
        if given.any():
            raise ValueError(f"rows {rows.start} to {rows.stop} of class {index} are written")
        whole = self._outside(index, rows.stop - rows.start)
        inner = list(self._box)
        inner[self._axis] = slice(None)
        whole[tuple(inner)] = scores
        self._place(index, first + rows.start, whole)
        given[:] = True

    def finish(self) -> None:
        """Write what lies outside of the box.

        Raises:
            ValueError: rows are missing. OSError: the disk refuses.
        """
        if not self._given.all():
            index, row = np.argwhere(~self._given)[0]
            raise ValueError(f"row {row} of class {index} was never written")
        box = self._box[self._axis]
        for start, stop in ((0, box.start), (box.stop, self._shape[self._axis])):
            for first in range(start, stop, _ROWS):
                for index in range(len(self._array)):
                    self._place(index, first, self._outside(index, min(_ROWS, stop - first)))

    def _outside(self, index: int, rows: int) -> NDArray[np.float16]:
        """Rows of the whole grid, as they are outside of the box."""
        shape = list(self._shape)
        shape[self._axis] = rows
        return np.full(shape, 1.0 if index == self._certain else 0.0, dtype=np.float16)

    def _place(self, index: int, first: int, rows: NDArray[np.float16]) -> None:
        region = [slice(0, length) for length in self._shape]
        region[self._axis] = slice(first, first + rows.shape[self._axis])
        place = place_from_canonical((region[0], region[1], region[2]), self._grid)
        self._array[(index, *place)] = contiguous(turned_back(rows, self._grid))
        self._check()


@contextmanager
def write_probabilities(
    path: Path, geometry: SourceGeometry, labels: LabelSet, origin: Origin, axis: int = 0
) -> Iterator[ProbabilitiesWriter]:
    """Write a file of probabilities; it takes its place when the block ends and it is whole.

    Args:
        path: the file.
        geometry: of the case.
        labels: what the probabilities are of.
        origin: by what they were made.
        axis: canonical axis whose rows are given, see `ProbabilitiesWriter`.

    Raises:
        StorageError: the disk refuses. ValueError: rows are missing.
    """
    with replacing(path) as beside, LatchedFile(beside) as stream:
        try:
            # Every write is of whole chunks, or nearly: none is worth keeping.
            with h5py.File(stream, "w", libver="v110", rdcc_nbytes=0) as file:
                array = _create(file, geometry, labels, origin, axis)
                writer = ProbabilitiesWriter(array, geometry, labels, axis, stream.check)
                yield writer
                writer.finish()
        except Exception:
            stream.check()  # what the disk said, rather than what HDF5 made of it
            raise
        stream.close()
        stream.check()


def _create(
    file: h5py.File, geometry: SourceGeometry, labels: LabelSet, origin: Origin, axis: int
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
    longest = [_ROWS if of == axis else _ACROSS for of, _ in file_axes(grid)]
    chunks = (1, *map(min, longest, grid.shape))
    shape = (len(names), *grid.shape)
    return file.create_dataset(DATASET, shape, np.float16, chunks=chunks, **_FILTER)
