"""Worker processes that die where their pool does not notice: while they begin or hand over."""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.synchronize import RLock
from typing import Any

from mednext_cli.foundation.errors import MednextError

_MOST_DEATHS = 4  # in a row, with no case between them
_SECONDS_TO_HAND_OVER = 10.0  # a case or its result between processes, on a machine that swaps


class PoolLost(MednextError):
    """A pool of worker processes that will do no more."""


class WatchedContext(SpawnContext):
    """Spawns processes, and knows when they only die.

    A pool starts a worker anew whenever one dies, and hangs where starting fails in its thread, or
    where a worker takes the lock along that all need for handing over.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: list[_Process] = []
        self._locks: list[RLock] = []
        self._locks_in_doubt = False

    def Process(self, *arguments: Any, **options: Any) -> "_Process":  # type: ignore[override]  # noqa: ANN401, N802 - the context's name
        """A process that is looked at by `check`."""
        process = _Process(*arguments, **options)
        self._started.append(process)
        return process

    def RLock(self) -> RLock:  # noqa: N802 - the context's name
        """A lock that is looked at by `check`."""
        self._locks.append(super().RLock())
        return self._locks[-1]

    def check(self, *, working: bool, active: bool) -> None:
        """Look at the processes, again and again.

        Args:
            working: whether a case has ended since the last look; then the dead are forgotten.
            active: whether the pool's own threads live; they end where starting fails.

        Raises:
            PoolLost: one after the other died and no case was done, none can be started, or one
                died while it handed over.
        """
        dead = self._dead()
        self._locks_in_doubt |= bool(dead)
        if working:
            self._started = [process for process in self._started if process not in dead]
        elif len(dead) >= _MOST_DEATHS or not active:
            raise _cannot_begin(self._reason("none can be started"))
        elif self._locks_in_doubt:
            self._check_locks()

    def _check_locks(self) -> None:
        for lock in self._locks:
            if not lock.acquire(timeout=_SECONDS_TO_HAND_OVER):
                raise PoolLost(
                    "worker processes die while they hand over results",
                    "Run the same command again with --workers 0, which needs none.",
                )
            lock.release()
        self._locks_in_doubt = False

    def kill(self) -> None:
        """End all processes at once; one that still begins would miss what the pool takes away."""
        for process in self._started:
            if process.pid is not None:
                process.kill()

    def _dead(self) -> list["_Process"]:
        return [process for process in self._started if process.exitcode]

    def _reason(self, otherwise: str) -> str:
        dead = self._dead()
        return f"exit code {dead[-1].exitcode}" if dead else otherwise

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Turn what the pool says where no worker can be started into a line."""
        try:
            yield
        except (BrokenProcessPool, RuntimeError) as error:
            raise _cannot_begin(self._reason(str(error))) from error


class _Process(SpawnProcess):
    def start(self) -> None:
        """Start; in a form that a pool hands on instead of dying silently."""
        try:
            super().start()
        except OSError as error:
            raise BrokenProcessPool(error.strerror or str(error)) from error


def _cannot_begin(reason: str) -> PoolLost:
    return PoolLost(
        f"worker processes end as soon as they start ({reason})",
        "Run the same command again with --workers 0, which needs none and shows why.",
    )
