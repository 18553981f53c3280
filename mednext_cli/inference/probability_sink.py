"""Blocks of probabilities on their way into a file that takes whole rows."""

from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mednext_cli.inference.probabilities import write_probabilities
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.formats.dicom_objects import Origin

Box = tuple[slice, slice, slice]


class _DiscardedError(Exception):
    """The file is not wanted any more."""


class ProbabilitySink:
    """Gathers the blocks of a row, float16, and writes the row into a file beside its place.

    Args:
        path: the file.
        geometry: of the case.
        labels: what the probabilities are of.
        origin: by what they were made.
        axes: of the rows of blocks, and of the blocks within a row.

    Raises:
        StorageError: the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        geometry: SourceGeometry,
        labels: LabelSet,
        origin: Origin,
        axes: tuple[int, int],
    ) -> None:
        self._axes, self._start = axes, [start for start, _ in geometry.box]
        self._shape = geometry.cropped_shape
        self._rows: dict[int, NDArray[np.float16]] = {}
        self._open = ExitStack()
        self._writer = self._open.enter_context(
            write_probabilities(path, geometry, labels, origin, axes[0])
        )

    def write(self, index: int, box: Box, scores: NDArray[np.float32]) -> None:
        """See `preprocessing.restore.ClassSink`.

        Raises:
            StorageError: the disk refuses.
        """
        first, second = self._axes
        place = [
            slice(part.start - start, part.stop - start)
            for part, start in zip(box, self._start, strict=True)
        ]
        rows = place[first]
        if index not in self._rows:
            shape = list(self._shape)
            shape[first] = rows.stop - rows.start
            self._rows[index] = np.empty(shape, dtype=np.float16)
        place[first] = slice(None)
        self._rows[index][tuple(place)] = scores
        if place[second].stop == self._shape[second]:
            try:
                self._writer.write(index, rows, self._rows.pop(index))
            except OSError as error:
                self._open.__exit__(type(error), error, error.__traceback__)  # names the file
                raise

    def finish(self) -> None:
        """Bring the file to its place.

        Raises:
            StorageError: the disk refuses.
        """
        self._open.close()

    def discard(self) -> None:
        """Remove what was written; once finished, the file stays."""
        error = _DiscardedError()
        with suppress(Exception):  # whatever the disk says to that
            self._open.__exit__(_DiscardedError, error, None)
