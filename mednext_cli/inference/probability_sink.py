"""Blocks of probabilities on their way into a file that is made of chunks."""

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
    """Writes what fills chunks, float16, into a file beside its place; the rest of a block waits.

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
        self._rest: dict[int, NDArray[np.float16]] = {}
        self._open = ExitStack()
        self._writer = self._open.enter_context(
            write_probabilities(path, geometry, labels, origin, axes)
        )

    def write(self, index: int, box: Box, scores: NDArray[np.float32]) -> None:
        """See `preprocessing.restore.ClassSink`.

        Raises:
            StorageError: the disk refuses.
        """
        rows, columns = (
            slice(box[axis].start - self._start[axis], box[axis].stop - self._start[axis])
            for axis in self._axes
        )
        second = self._axes[1]
        known = scores.astype(np.float16)
        if index in self._rest:
            known = np.concatenate((self._rest.pop(index), known), axis=second)
        start = columns.stop - known.shape[second]
        stop = max(start, self._writer.whole_chunks(columns.stop))
        whole, rest = np.split(known, [stop - start], axis=second)
        if rest.size:
            self._rest[index] = rest.copy()
        if not whole.size:
            return
        try:
            self._writer.write(index, rows, whole, slice(start, stop))
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
