"""One run at a time in a folder; whoever comes second waits. And what dead runs left is removed."""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mednext_cli.foundation.files import make_folder, storage_error

_NAME = ".lock"
_BESIDE = re.compile(r"\.(\d+)-[0-9a-f]{6}\.(.+)")  # see `files.replacing`
logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, briefly: bool = False) -> Iterator[None]:
    """Hold the folder's lock while the block runs; wait for another process that holds it.

    The kernel frees the lock when its holder ends, however that happens. On file systems without
    locks the block runs with a warning.

    Args:
        folder: made where it is not there.
        briefly: it is always held for moments, so nothing is said of waiting.

    Raises:
        StorageError: the folder cannot be written.
    """
    make_folder(folder)
    path = folder / _NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        _wait_for(handle, folder, briefly)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, folder: Path, briefly: bool) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not briefly:
            logger.warning("another run works in %s: waiting until it ends", folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        _warn_once(folder, error.strerror)


@cache
def _warn_once(folder: Path, reason: str) -> None:
    logger.warning("%s cannot be locked (%s): run nothing else there", folder, reason)


def _none(_: str) -> bool:
    return False


def remove_leftovers(folder: Path, spare: Callable[[str], bool] = _none) -> None:
    """Remove the half-written files of processes that are no more; call it under the lock.

    Args:
        folder: where to look.
        spare: whether the file of this name is being written by a process that may run on another
            machine, where nobody sees it.
    """
    for path in folder.glob(".*"):
        found = _BESIDE.fullmatch(path.name)
        if found and not _is_alive(int(found[1])) and not spare(found[2]):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return process != os.getpid()  # ours: none is open when this is asked
