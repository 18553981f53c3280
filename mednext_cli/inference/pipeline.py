"""Cases one after the other through the networks, read ahead and written behind by threads."""

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.outcomes import Outcome, failure
from mednext_cli.inference.average import NetworkAverage
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.sources import check_volumes
from mednext_cli.preprocessing.apply import prepare_image
from mednext_cli.preprocessing.geometry import SourceGeometry

Array = NDArray[np.float32]
Prepared = tuple[Array, SourceGeometry]
_OF_ONE_FILE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
logger = logging.getLogger(__name__)


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
        networks: loaded once, for all cases.
        store: where results go.
        workers: threads that read and prepare, and as many that restore and write; 0 does all in
            turn. Memory holds `workers` cases before, one in and `workers` after the network.
    """

    networks: NetworkAverage
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
        plan = self.networks.plan
        check_volumes(case, plan)
        self.store.before_reading(case)
        return prepare_image(case.channels, plan)

    def _put_through(self, case: Case, prepared: Prepared, count: TileCount) -> Predicted:
        image, geometry = prepared
        started = time.monotonic()
        count.begin(case.id, self.networks.count_tiles(image.shape[1:]))
        scores = self.networks.predict(image, case.id, partial(count.advance, case.id))
        return Predicted(case, scores, geometry, time.monotonic() - started)


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
