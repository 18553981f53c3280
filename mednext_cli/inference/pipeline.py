"""Cases one after the other through the networks, read ahead and written behind by threads."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import CheckpointError, MednextError, StorageError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.progress import Progress
from mednext_cli.inference.engine import Engine
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.sliding import predict_probabilities
from mednext_cli.inference.sources import check_volumes
from mednext_cli.preprocessing.apply import SourceGeometry, prepare_image
from mednext_cli.preprocessing.plan import Plan
from mednext_cli.preprocessing.restore import restore_label_map, restore_probabilities
from mednext_cli.volumes.scans import write_label_map

Array = NDArray[np.float32]
Prepared = tuple[Array, SourceGeometry]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One network of an average, and how it is shown an image.

    Attributes:
        engine: images to probabilities.
        patch_voxels: (D, H, W) it was trained on.
        mirror_axes: axes of (D, H, W) to average over.
        overlap: of its tiles.
        batch: tiles it is shown at once.
    """

    engine: Engine
    patch_voxels: tuple[int, int, int]
    mirror_axes: tuple[int, ...]
    overlap: float
    batch: int


@dataclass(frozen=True)
class Pipeline:
    """Cases to label maps.

    Attributes:
        members: the networks to average.
        plan: how cases are prepared, and what the networks' outputs mean.
        record: where results go, and what is done.
        probabilities: whether to write them too.
        workers: threads that read and prepare, and as many that restore and write; 0 does all in
            turn. Memory holds `workers` cases before, one in and `workers` after the network.
    """

    members: Sequence[Member]
    plan: Plan
    record: PredictionRecord
    probabilities: bool
    workers: int

    def run(self, cases: Sequence[Case], bar: Progress) -> Iterator[tuple[str, str]]:
        """Predict the cases; yield the id of each with "", or why it failed.

        Raises:
            StorageError: the disk refuses; it would refuse the others, too.
        """
        if self.workers == 0:
            for case in cases:
                yield case.id, _failure(case.id, partial(self._predict, case, bar))
            return
        with ThreadPoolExecutor(self.workers) as readers, ThreadPoolExecutor(self.workers) as out:
            yield from self._overlapped(cases, bar, readers, out)

    def _overlapped(
        self,
        cases: Sequence[Case],
        bar: Progress,
        readers: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
    ) -> Iterator[tuple[str, str]]:
        ahead = iter(cases)
        reading: deque[tuple[Case, Future[Prepared]]] = deque()
        writing: deque[tuple[str, Future[None]]] = deque()
        try:
            for _ in range(self.workers):
                self._read_next(ahead, reading, readers)
            while reading:
                case, prepared = reading.popleft()
                self._read_next(ahead, reading, readers)
                job = partial(self._submit, case, prepared, bar, writers, writing)
                if error := _failure(case.id, job):
                    yield case.id, error
                del prepared, job  # else they hold the image while the next is predicted
                while len(writing) > self.workers:
                    yield _finish(*writing.popleft())
            while writing:
                yield _finish(*writing.popleft())
        except BaseException:
            for _, waiting in reading:  # what is being written is finished
                waiting.cancel()
            raise

    def _read_next(
        self,
        cases: Iterator[Case],
        reading: "deque[tuple[Case, Future[Prepared]]]",
        readers: ThreadPoolExecutor,
    ) -> None:
        for case in cases:
            reading.append((case, readers.submit(self._prepare, case)))
            return

    def _submit(
        self,
        case: Case,
        prepared: "Future[Prepared]",
        bar: Progress,
        writers: ThreadPoolExecutor,
        writing: "deque[tuple[str, Future[None]]]",
    ) -> None:
        image, geometry = prepared.result()
        started = time.monotonic()
        scores = self._scores(case.id, image, bar)
        seconds = time.monotonic() - started
        writing.append((case.id, writers.submit(self._write, case, scores, geometry, seconds)))

    def _predict(self, case: Case, bar: Progress) -> None:
        image, geometry = self._prepare(case)
        started = time.monotonic()
        scores = self._scores(case.id, image, bar)
        self._write(case, scores, geometry, time.monotonic() - started)

    def _prepare(self, case: Case) -> Prepared:
        check_volumes(case, self.plan)
        return prepare_image(case.channels, self.plan)

    def _scores(self, case_id: str, image: Array, bar: Progress) -> Array:
        """Probabilities (K, D, H, W) averaged over the networks, on the prepared grid."""
        total: Array | None = None
        for number, member in enumerate(self.members):
            which = f", model {number + 1}" if len(self.members) > 1 else ""

            def report(done: int, count: int, which: str = which) -> None:
                bar.advance(0, f"{case_id}: {done} of {count} tiles{which}")

            found = predict_probabilities(
                member.engine,
                image,
                member.patch_voxels,
                member.mirror_axes,
                member.overlap,
                member.batch,
                report,
            )
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None  # noqa: S101 - there is always one network
        total /= len(self.members)
        if not np.isfinite(total.sum(dtype=np.float64)):
            raise CheckpointError(
                f"the network gives NaN for {case_id}", "Its weights are broken: train it again."
            )
        return total

    def _write(self, case: Case, scores: Array, geometry: SourceGeometry, seconds: float) -> None:
        if self.probabilities:
            whole = restore_probabilities(scores, geometry, self.plan)
            with replacing(self.record.probabilities(case)) as beside:
                affine = geometry.file_grid.affine  # where the label map lies, in mm
                np.savez_compressed(beside, probabilities=whole, affine=affine)
        labels = restore_label_map(scores, geometry, self.plan)
        write_label_map(self.record.label_map(case), labels, case.channels[0].path)
        self.record.note(case, seconds)


def _finish(case_id: str, writing: "Future[None]") -> tuple[str, str]:
    return case_id, _failure(case_id, writing.result)


def _failure(case_id: str, work: Callable[[], None]) -> str:
    """Do the work; "" or, in one line, what is wrong with this case."""
    try:
        work()
    except StorageError:
        raise
    except MednextError as error:
        reason = str(error)
    except MemoryError:
        reason = "not enough memory for this case. Use --workers 0, or a machine with more."
    else:
        return ""
    logger.warning("%s: %s", case_id, reason)
    return reason
