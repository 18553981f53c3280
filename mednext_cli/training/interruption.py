"""Ctrl-C and a batch system's SIGTERM stop training between two steps, not inside one."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mednext_cli.foundation.children import GROUP_SIGNALS

_SAME_SECONDS = 1.0  # mpirun and shells pass on a Ctrl-C that has reached everybody already
logger = logging.getLogger(__name__)


class Interruption:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._when = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first asks, Ctrl-C again insists.

        Batch systems and `timeout` send SIGTERM more than once and wait for what comes of it; who
        does not want to wait sends SIGKILL.
        """
        now = time.monotonic()
        if not self.requested:
            self.requested, self._when = True, now
            logger.warning("stopping after this step; Ctrl-C once more stops at once and loses it")
        elif number == signal.SIGINT and now - self._when > _SAME_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def deferred_interruption() -> Iterator[Interruption]:
    """Note SIGINT, SIGTERM and SIGHUP in the yielded object; a second SIGINT acts at once.

    The caller looks at ``requested`` where the state is whole. Outside the main thread signals
    cannot be caught, and nothing is changed; nor is SIGHUP where it is ignored (``nohup``).
    """
    interruption = Interruption()
    previous = {}
    try:
        for number in GROUP_SIGNALS:
            before = signal.getsignal(number)
            if number in (signal.SIGINT, signal.SIGTERM) or before is not signal.SIG_IGN:
                previous[number] = signal.signal(number, interruption.note)
    except ValueError:
        yield interruption
        return
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
