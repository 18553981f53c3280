"""One run at a time in a folder; whoever comes second waits. And what dead runs left is removed."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mednext_cli.foundation.files import make_folder, storage_error

_NAME = ".lock"
_BESIDE = re.compile(r"\.(\d+)-[0-9a-f]{6}\..+")  # see `files.replacing`
logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock while the block runs; wait for another process that holds it.

    The kernel frees the lock when its holder ends, however that happens. On file systems without
    locks the block runs with a warning.

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
        _wait_for(handle, folder)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("another run works in %s: waiting until it ends", folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        logger.warning("%s cannot be locked (%s): run nothing else there", folder, error.strerror)


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files of processes that are no more; call it under the lock."""
    for path in folder.glob(".*"):
        found = _BESIDE.fullmatch(path.name)
        if found and not _is_alive(int(found[1])):
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
