"""A batch system's SIGTERM, and a closed terminal, stop work as Ctrl-C does: once, and in order."""

import signal
import time
from types import FrameType

from mednext_cli.foundation.children import GROUP_SIGNALS

_SAME_SECONDS = 1.0  # mpirun and shells pass on a Ctrl-C that has reached everybody already


class Stop:
    """Handles signals: the first raises KeyboardInterrupt, later ones mostly do not.

    Batch systems and `timeout` send more than one, and wait while what was begun is tidied up; who
    does not want to wait presses Ctrl-C once more, or sends SIGKILL.
    """

    def __init__(self) -> None:
        self._when: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt where the signal asks for it."""
        if self.is_asked_by(number):
            raise KeyboardInterrupt

    def is_asked_by(self, number: int) -> bool:
        """Whether a signal that has come is the first, or Ctrl-C that insists a moment later."""
        now = time.monotonic()
        if self._when is None:
            self._when = now
            return True
        return number == signal.SIGINT and now - self._when > _SAME_SECONDS


def stop_on_signals() -> None:
    """End this process in order on SIGINT, SIGTERM and SIGHUP; those ignored stay so (nohup)."""
    stop = Stop()
    for number in GROUP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def ignore_signals() -> None:
    """The process ends by itself now: a signal could only tear a line or leave a traceback."""
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def current_stop() -> Stop:
    """What `stop_on_signals` has put in force, with the signals it has seen; else a fresh one."""
    installed = signal.getsignal(signal.SIGTERM)
    return installed if isinstance(installed, Stop) else Stop()
