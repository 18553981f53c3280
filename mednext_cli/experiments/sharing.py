"""Several processes, also on several machines, share the runs of one experiment."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto

from mednext_cli.experiments.layout import ExperimentFolder, RunKey
from mednext_cli.experiments.notes import FailedNote, WholeNote, read_note, write_note
from mednext_cli.experiments.one_run import RunTask
from mednext_cli.foundation.locks import locked
from mednext_cli.inference.claims import Claims

_PAUSE_SECONDS = 1.0  # between two looks at what others do
logger = logging.getLogger(__name__)


class _Standing(Enum):
    MINE = auto()
    OVER = auto()
    ELSEWHERE = auto()
    WAITS = auto()


class Share:
    """The runs to do, and who does them.

    A run waits for the one it starts from. What another process has claimed is left to it, and
    taken over where that process dies; this one waits only for runs that its own start from.

    Args:
        folder: of the experiment.
        tasks: to be done, by whomever; starting runs first.
        starts: of the runs that start from others, by key.
        is_scored: whether a run that is trained and validated lacks nothing else.
    """

    def __init__(
        self,
        folder: ExperimentFolder,
        tasks: Sequence[RunTask],
        starts: dict[RunKey, RunKey],
        is_scored: Callable[[RunKey], bool] = lambda _: True,
    ) -> None:
        self._folder, self._starts, self._is_scored = folder, starts, is_scored
        self._open = {task.key: task for task in tasks}
        self._total = len(tasks)
        self._claims = Claims(folder.path)
        # A failure of an earlier call is tried again; one of another process at work is not.
        notes = {key: read_note(folder, key) for key in {*self._open, *starts.values()}}
        self._earlier = {note.token for note in notes.values() if isinstance(note, FailedNote)}

    def work(self, run: Callable[[RunTask], None]) -> tuple[RunKey, ...]:
        """Do every run that nobody else does.

        Args:
            run: does one, and leaves a note of what became of it.

        Returns:
            Runs that other processes were still at work on.

        Raises:
            StorageError: the disk refuses.
            KeyboardInterrupt: interrupted; what is done stays.
        """
        with self._joined():
            said = False
            while self._open:
                task, elsewhere = self._next()
                if task is not None:
                    self._do(task, run)
                elif all(key in elsewhere for key in self._open):
                    return tuple(elsewhere)
                else:
                    if elsewhere and not said:
                        logger.info("another process does %s: waiting for it", elsewhere[0].name)
                        said = True
                    time.sleep(_PAUSE_SECONDS)
        return ()

    @contextmanager
    def _joined(self) -> Iterator[None]:
        with locked(self._folder.path, briefly=True):
            self._claims.join()
        try:
            yield
        finally:
            with locked(self._folder.path, briefly=True):
                self._claims.leave()

    def _next(self) -> tuple[RunTask | None, list[RunKey]]:
        """A run that is claimed now, or those that others have."""
        elsewhere = []
        with locked(self._folder.path, briefly=True):
            for key, task in list(self._open.items()):
                standing = self._standing(key)
                if standing is _Standing.MINE:
                    return task, []
                if standing is _Standing.OVER:
                    del self._open[key]
                elif standing is _Standing.ELSEWHERE:
                    elsewhere.append(key)
        return None, elsewhere

    def _standing(self, key: RunKey) -> _Standing:
        if self._is_over(key):
            return _Standing.OVER
        start = self._starts.get(key)
        note = read_note(self._folder, start) if start else None
        if start and not isinstance(note, WholeNote):
            if self._is_over(start) or start not in self._open:
                self._give_up(key, start)
                return _Standing.OVER
            return _Standing.WAITS
        return _Standing.MINE if self._claims.take(key.name) else _Standing.ELSEWHERE

    def _is_over(self, key: RunKey) -> bool:
        """Whether it is whole, or failed since this process began."""
        note = read_note(self._folder, key)
        if isinstance(note, WholeNote):
            return self._is_scored(key)
        return isinstance(note, FailedNote) and note.token not in self._earlier

    def _give_up(self, key: RunKey, start: RunKey) -> None:
        reason = f"{start.name}, which it starts from, failed"
        write_note(self._folder, key, FailedNote(reason=reason))

    def _do(self, task: RunTask, run: Callable[[RunTask], None]) -> None:
        key = task.key
        number = self._total - len(self._open) + 1
        logger.info("run %d of %d: %s", number, self._total, key.name)
        try:
            run(task)
        finally:
            with locked(self._folder.path, briefly=True):
                self._claims.give_back(key.name)
        note = read_note(self._folder, key)
        if isinstance(note, FailedNote):
            logger.warning("%s: %s", key.name, note.reason)
        self._open.pop(key, None)
