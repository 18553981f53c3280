"""Worker processes: they end with their parent, and no signal to the whole group stops them.

A terminal's Ctrl-C, a batch system's SIGTERM and a closed terminal's SIGHUP reach every process of
a group, workers too. The main process decides what comes of them; its workers go on meanwhile.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Windows has no SIGHUP.
GROUP_SIGNALS = tuple(
    number
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None))
    if number is not None
)
_ORPHANED = 1


@contextmanager
def starting_children() -> Iterator[None]:
    """Hold signals back while processes (and threads that start processes) begin.

    They inherit the mask and keep it, so that nothing stops a worker before it has called
    `begin_child`, which for one that imports torch is seconds away. A signal that comes meanwhile
    is delivered to this process at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Python's own helper, which all share: it is deaf to SIGINT and SIGTERM by itself, to SIGHUP
    # only by the mask that it inherits. Starting it lifts part of that mask here.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_child() -> None:
    """Call first in a worker process that was started within `starting_children`.

    From here on SIGINT and SIGHUP are ignored, SIGTERM ends the worker only if its parent sent it,
    and the worker ends when its parent does, however that was, and even if it was before this call.
    """
    for number in GROUP_SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        _watch(_end_on_terminate, parent.pid)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _watch(_end_with_parent)


def _watch(work: Callable[..., None], *arguments: int) -> None:
    threading.Thread(target=work, args=arguments, daemon=True, name="mednext-child").start()


def _end_on_terminate(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    # A pipe that closes with the parent: unlike PR_SET_PDEATHSIG it does not confuse the end of the
    # parent's thread that started us with its own, it has no race at the start, and it works on
    # every system.
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - as the caller has seen
    parent.join()
    os._exit(_ORPHANED)
