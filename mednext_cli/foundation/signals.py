"""A batch system's SIGTERM, and a closed terminal, stop work as Ctrl-C does."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mednext_cli.foundation.children import GROUP_SIGNALS


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt in the block, so that it ends with code 130.

    Once only: batch systems and `timeout` send several, and the work is being tidied up meanwhile.
    SIGHUP stays ignored where it is (``nohup``). Outside the main thread signals cannot be caught,
    and nothing is changed.
    """
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise KeyboardInterrupt

    before = {}
    try:
        for number in GROUP_SIGNALS:
            current = signal.getsignal(number)
            if number != signal.SIGINT and current is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
