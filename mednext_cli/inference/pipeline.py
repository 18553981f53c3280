"""Cases one after the other through the networks, read ahead and written behind by threads."""

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import CheckpointError, StorageError
from mednext_cli.foundation.outcomes import Outcome, failure
from mednext_cli.inference.engine import Engine, ask
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.sliding import count_tiles, predict_probabilities
from mednext_cli.inference.sources import check_volumes
from mednext_cli.preprocessing.apply import prepare_image
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.settings.plan import Plan

Array = NDArray[np.float32]
Prepared = tuple[Array, SourceGeometry]
_OF_ONE_FILE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
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

    def count_tiles(self, shape: Sequence[int]) -> int:
        """Tiles and mirrorings of an image of this shape (D, H, W)."""
        return count_tiles(shape, self.patch_voxels, self.mirror_axes, self.overlap)


@dataclass(frozen=True)
class Predicted:
    """What the networks made of a case.

    Attributes:
        scores: probabilities (K, D, H, W) on the prepared grid.
        geometry: the way back to the scan's own.
        seconds: the networks took.
    """

    case: Case
    scores: Array
    geometry: SourceGeometry
    seconds: float


class Store(Protocol):
    """Where the results go."""

    def before_reading(self, case: Case) -> None:
        """Called before a case is read, in a thread that reads."""
        ...

    def write(self, predicted: Predicted) -> None:
        """Write a case, in a thread that writes."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """Cases to label maps.

    Attributes:
        members: the networks to average.
        plan: how cases are prepared, and what the networks' outputs mean.
        store: where results go.
        workers: threads that read and prepare, and as many that restore and write; 0 does all in
            turn. Memory holds `workers` cases before, one in and `workers` after the network.
    """

    members: Sequence[Member]
    plan: Plan
    store: Store
    workers: int

    def run(self, cases: Iterable[Case], count: TileCount) -> Iterator[Outcome[Case]]:
        """Predict the cases; yield what became of each.

        Raises:
            StorageError: the disk refuses; it would refuse the others, too.
        """
        if self.workers == 0:
            for case in cases:
                yield _attempt(case, partial(self._predict, case, count))
            return
        with ThreadPoolExecutor(self.workers) as readers, ThreadPoolExecutor(self.workers) as out:
            yield from self._overlapped(iter(cases), count, readers, out)

    def _overlapped(
        self,
        ahead: Iterator[Case],
        count: TileCount,
        readers: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
    ) -> Iterator[Outcome[Case]]:
        reading: deque[tuple[Case, Future[Prepared]]] = deque()
        writing: deque[tuple[Case, Future[None]]] = deque()
        try:
            for _ in range(self.workers):
                self._read_next(ahead, reading, readers)
            while reading:
                case, prepared = reading.popleft()
                self._read_next(ahead, reading, readers)
                job = partial(self._submit, case, prepared, count, writers, writing)
                outcome = _attempt(case, job)
                if outcome.error is not None:
                    yield outcome
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
        count: TileCount,
        writers: ThreadPoolExecutor,
        writing: "deque[tuple[Case, Future[None]]]",
    ) -> None:
        predicted = self._put_through(case, prepared.result(), count)
        writing.append((case, writers.submit(self.store.write, predicted)))

    def _predict(self, case: Case, count: TileCount) -> None:
        self.store.write(self._put_through(case, self._prepare(case), count))

    def _prepare(self, case: Case) -> Prepared:
        check_volumes(case, self.plan)
        self.store.before_reading(case)
        return prepare_image(case.channels, self.plan)

    def _put_through(self, case: Case, prepared: Prepared, count: TileCount) -> Predicted:
        image, geometry = prepared
        started = time.monotonic()
        scores = self._scores(case.id, image, count)
        return Predicted(case, scores, geometry, time.monotonic() - started)

    def _scores(self, case_id: str, image: Array, count: TileCount) -> Array:
        """Probabilities (K, D, H, W) averaged over the networks, on the prepared grid."""
        count.begin(case_id, sum(one.count_tiles(image.shape[1:]) for one in self.members))
        total: Array | None = None
        for number, member in enumerate(self.members):
            found = self._scores_of(member, number, case_id, image, count)
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None  # noqa: S101 - there is always one network
        total /= len(self.members)
        if not np.isfinite(total.sum(dtype=np.float64)):
            raise CheckpointError(
                f"the network gives NaN for {case_id}", "Its weights are broken: train it again."
            )
        return total

    def _scores_of(
        self, member: Member, number: int, case_id: str, image: Array, count: TileCount
    ) -> Array:
        note = f", model {number + 1}" if len(self.members) > 1 else ""
        said = 0

        def report(done: int, _: int) -> None:
            nonlocal said
            count.advance(case_id, done - said, note)
            said = done

        outputs = self.plan.output_channels
        return predict_probabilities(
            lambda images: ask(member.engine, images, outputs),
            image,
            member.patch_voxels,
            member.mirror_axes,
            member.overlap,
            member.batch,
            report,
        )


def _finish(case: Case, writing: "Future[None]") -> Outcome[Case]:
    return _attempt(case, writing.result)


def _attempt(case: Case, work: Callable[[], None]) -> Outcome[Case]:
    """Do the work; the case, or in one line what is wrong with it."""
    try:
        work()
        return Outcome(case.id, value=case)
    except StorageError as error:
        if error.errno not in _OF_ONE_FILE:
            raise
        outcome: Outcome[Case] = failure(case.id, error)
    except MemoryError:
        reason = "not enough memory for this case. Use --workers 0, or a machine with more."
        outcome = Outcome(case.id, error=reason)
    except Exception as error:
        outcome = failure(case.id, error)
    logger.warning("%s: %s", case.id, outcome.error)
    return outcome
