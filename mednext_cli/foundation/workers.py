"""Run work over many cases in worker processes that may die without taking the run along."""

import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from mednext_cli.foundation.beginning import PoolLost
from mednext_cli.foundation.children import begin_child, starting_children
from mednext_cli.foundation.machine import count_workers
from mednext_cli.foundation.outcomes import Outcome, attempt, failure
from mednext_cli.foundation.pools import worker_pool
from mednext_cli.foundation.progress import set_verbosity, track

Item = TypeVar("Item")
Value = TypeVar("Value")
logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 0.5
_MOST_POOLS = 3  # in a row that are lost without a case done


def _no_bytes(item: object) -> int:
    return 0


@dataclass(frozen=True)
class RunSettings(Generic[Item]):
    """How work over items is run.

    Attributes:
        workers: processes; 0 works in this one, None takes as many as memory and cores allow.
        scheduler: address of a Dask scheduler whose workers do it instead.
        bytes_of: estimated peak memory of a process at work on an item; asked where `workers` is
            None.
    """

    workers: int | None = None
    scheduler: str | None = None
    bytes_of: Callable[[Item], int] = _no_bytes

    def count(self, items: Sequence[Item]) -> int:
        """How many processes to start for these items."""
        if self.workers is not None:
            return count_workers(self.workers, 0, len(items))
        return count_workers(None, max(map(self.bytes_of, items), default=0), len(items))


def run_over(
    work: Callable[[Item], Value],
    items: Sequence[Item],
    name: Callable[[Item], str],
    settings: RunSettings[Item],
    description: str,
) -> Generator[Outcome[Value], None, None]:
    """Do `work` for every item and yield outcomes as they come, with progress.

    An error in one item becomes the outcome's `error`, whether a user's or a fault of ours; so
    does a worker that dies (killed for its memory, say), and the others go on. Nothing hangs: a
    dead worker is noticed at once.

    Args:
        work: a module-level function, or a partial of one.
        items: what to work on.
        name: the case id of an item, for messages.
        settings: where it is done, and by how many processes.
        description: shown beside the progress bar.

    Raises:
        StorageError: the disk refuses; it would refuse the others, too.
        PoolLost: no worker process can be started.
    """
    if settings.scheduler is not None:
        from mednext_cli.foundation.cluster import on_cluster

        outcomes = _outcomes_of(on_cluster(work, items, name, settings.scheduler))
    elif (workers := settings.count(items)) == 0:
        outcomes = (attempt(name(item), partial(work, item)) for item in items)
    else:
        outcomes = _pooled(work, items, name, workers)
    with track(description, len(items)) as progress:
        for outcome in outcomes:
            progress.advance(note=outcome.name)
            yield outcome


def _outcomes_of(
    pairs: Generator[tuple[str, Value | None, BaseException | None], None, None],
) -> Iterator[Outcome[Value]]:
    with closing(pairs):  # a disk that refuses ends it all, on the cluster, too
        for name, value, error in pairs:
            yield Outcome(name, value=value) if error is None else failure(name, error)


def _pooled(
    work: Callable[[Item], Value], items: Sequence[Item], name: Callable[[Item], str], workers: int
) -> Iterator[Outcome[Value]]:
    """The items in a pool of processes; a pool that is lost is followed by another."""
    left, barren = dict(enumerate(items)), 0
    while left:
        try:
            with closing(_in_one_pool(work, left, name, workers)) as outcomes:
                for index, outcome in outcomes:
                    del left[index]
                    barren = 0
                    yield outcome
        except PoolLost as error:
            logger.debug("%s", error)
            barren += 1
            if barren == _MOST_POOLS:
                raise


def _in_one_pool(
    work: Callable[[Item], Value],
    items: Mapping[int, Item],
    name: Callable[[Item], str],
    workers: int,
) -> Generator[tuple[int, Outcome[Value]], None, None]:
    ahead, waiting = iter(tuple(items.items())), dict[Future[Value], int]()
    with worker_pool(workers, _begin_worker) as pool:
        processes, watched = pool.processes, pool.watched

        def send() -> None:
            """A few more than there are workers: none waits, and no pipe overflows."""
            with watched.failing():
                for index, item in islice(ahead, 2 * workers - len(waiting)):
                    waiting[processes.schedule(work, args=(item,))] = index

        with starting_children():  # the pool's threads start here, and workers from them
            send()
        while waiting:
            done, _ = wait(waiting, _SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            watched.check(working=bool(done), active=processes.active)
            for future in done:
                index = waiting.pop(future)
                with watched.failing():
                    outcome = _outcome(name(items[index]), future, workers)
                yield index, outcome
            send()


def _begin_worker() -> None:
    """Signals are the parent's business; one thread a worker, since there is a worker a core.

    Warnings of a worker look like the parent's; all else is the parent's to say.
    """
    begin_child()
    set_verbosity(quiet=True)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def _outcome(name: str, future: "Future[Value]", workers: int) -> Outcome[Value]:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        raise error
    return attempt(name, future.result, "--workers 1" if workers > 1 else "")
