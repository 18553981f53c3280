"""Pools of worker processes, for one map over cases or for several after each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mednext_cli.foundation.beginning import WatchedContext

if TYPE_CHECKING:
    from pebble import ProcessPool


@dataclass(frozen=True, eq=False)
class WorkerPool:
    """Processes that wait for work.

    Attributes:
        workers: how many.
        processes: the pool itself.
        watched: what notices those that only die.
    """

    workers: int
    processes: "ProcessPool"
    watched: WatchedContext

    def end(self) -> None:
        """End all processes at once, whatever they do."""
        self.processes.stop()  # type: ignore[no-untyped-call]
        self.watched.kill()
        self.processes.join()


class _Keeper:
    """Holds a pool between two maps."""

    pool: WorkerPool | None = None

    def take(self, workers: int) -> WorkerPool | None:
        """The pool, if it has as many workers and they live; another is ended."""
        pool, self.pool = self.pool, None
        if pool is not None and (pool.workers != workers or not pool.processes.active):
            pool.end()
            return None
        return pool


_keeper: ContextVar[_Keeper | None] = ContextVar("keeper", default=None)


@contextmanager
def keeping_workers() -> Iterator[None]:
    """Let the maps in this block share their workers, which take a second each to begin."""
    keeper = _Keeper()
    token = _keeper.set(keeper)
    try:
        yield
    finally:
        _keeper.reset(token)
        if keeper.pool is not None:
            keeper.pool.end()


@contextmanager
def worker_pool(workers: int, begin: Callable[[], None]) -> Iterator[WorkerPool]:
    """A pool to work in; ended behind the block, unless it is kept and the block went well.

    Args:
        workers: processes.
        begin: what each does first.
    """
    from pebble import ProcessPool

    keeper = _keeper.get()
    pool = keeper.take(workers) if keeper is not None else None
    if pool is None:
        watched = WatchedContext()
        processes = ProcessPool(max_workers=workers, initializer=begin, context=watched)
        pool = WorkerPool(workers, processes, watched)
    done = False
    try:
        yield pool
        done = True
    finally:
        if keeper is not None and done:
            keeper.pool = pool
        else:
            pool.end()
