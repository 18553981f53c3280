"""Ctrl-C and a batch system's SIGTERM stop training between two steps, not inside one."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mednext_cli.foundation.children import GROUP_SIGNALS
from mednext_cli.foundation.signals import Stop, current_stop

logger = logging.getLogger(__name__)


class Interruption:
    """Whether somebody asked to stop.

    Args:
        stop: tells which signals ask; it knows of those that came before.
    """

    def __init__(self, stop: Stop) -> None:
        self.requested = False
        self._stop = stop

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first asks, Ctrl-C a moment later insists."""
        if not self._stop.is_asked_by(number):
            return
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        logger.warning("stopping after this step; Ctrl-C once more stops at once and loses it")


@contextmanager
def deferred_interruption() -> Iterator[Interruption]:
    """Note SIGINT, SIGTERM and SIGHUP in the yielded object; a second SIGINT acts at once.

    The caller looks at ``requested`` where the state is whole. Outside the main thread signals
    cannot be caught, and nothing is changed; nor is SIGHUP where it is ignored (``nohup``).
    """
    interruption = Interruption(current_stop())
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
