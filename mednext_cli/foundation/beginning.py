"""Worker processes that die before they have begun: noticed at once, not started for ever."""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from mednext_cli.foundation.errors import MednextError

_MOST_DEATHS = 4  # in a row, with no case between them


class WatchedContext(SpawnContext):
    """Spawns processes, and knows when they only die.

    A pool starts a worker anew whenever one dies, and hangs where starting fails in its thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: list[_Process] = []

    def Process(self, *arguments: Any, **options: Any) -> "_Process":  # type: ignore[override]  # noqa: ANN401, N802 - the context's name
        """A process that is looked at by `check`."""
        process = _Process(*arguments, **options)
        self._started.append(process)
        return process

    def check(self, *, working: bool, active: bool) -> None:
        """Look at the processes, again and again.

        Args:
            working: whether a case has ended since the last look; then the dead are forgotten.
            active: whether the pool's own threads live; they end where starting fails.

        Raises:
            MednextError: one after the other died and no case was done, or none can be started.
        """
        dead = self._dead()
        if working:
            self._started = [process for process in self._started if process not in dead]
        elif len(dead) >= _MOST_DEATHS or not active:
            raise _cannot_begin(self._reason("none can be started"))

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


def _cannot_begin(reason: str) -> MednextError:
    return MednextError(
        f"worker processes end as soon as they start ({reason})",
        "Run the same command again with --workers 0, which needs none and shows why.",
    )
