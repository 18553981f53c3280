"""Ctrl-C and a batch system's SIGTERM stop training between two steps, not inside one."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody asked to stop."""

    requested = False


@contextmanager
def deferred_interruption() -> Iterator[Interruption]:
    """Note the first SIGINT or SIGTERM in the yielded object; a second one acts at once.

    The caller looks at ``requested`` where the state is whole. Outside the main thread signals
    cannot be caught, and nothing is changed.
    """
    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True
        logger.warning("stopping after this step; once more stops at once and loses it")

    try:
        previous = {number: signal.signal(number, note) for number in _SIGNALS}
    except ValueError:
        yield interruption
        return
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
