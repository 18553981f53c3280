"""One run at a time in a folder: who comes second waits or is told who holds it."""

import contextlib
import logging
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import lock_descriptor

from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.files import make_folder, storage_error

LOCK_NAME = ".lock"
_LOOK_AGAIN_S = 0.01
_SIGNATURE = re.compile(r"\(process \d+ on [\w.-]+, since [\d:\- ]+\)")
logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, wait: bool = True, briefly: bool = False) -> Iterator[None]:
    """Hold the folder's lock while the block runs.

    The system frees the lock when its holder ends, however that happens. On file systems without
    locks the block runs with a warning.

    Args:
        folder: made where it is not there.
        wait: for another process that holds the lock; without, refuse and say who it is.
        briefly: it is always held for moments, so nothing is said of waiting.

    Raises:
        StorageError: the folder cannot be written; or another holds it, without `wait`.
    """
    make_folder(folder)
    handle = _open(folder)
    try:
        _take(handle, folder, wait, briefly)
        while not _is_in_place(handle, folder):  # its last holder took it away
            os.close(handle)
            handle = _open(folder)
            _take(handle, folder, wait, briefly)
        _sign(handle, _signature())
        try:
            yield
        finally:
            _sign(handle, "")
    finally:
        os.close(handle)


def remove_lock(folder: Path) -> None:
    """Take the folder's lock file away; call it under the lock, as the last to work there."""
    with contextlib.suppress(OSError):
        (folder / LOCK_NAME).unlink(missing_ok=True)


def _open(folder: Path) -> int:
    path = folder / LOCK_NAME
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(path, error) from error


def _is_in_place(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), (folder / LOCK_NAME).stat())
    except OSError:  # removed, here or on the server
        return False


def lock_at_once(handle: int) -> bool:
    """Lock an open file, or say that another has it; closing the file unlocks it.

    Raises:
        OSError: the file system has no locks.
    """
    return lock_descriptor(handle, blocking=False)


def _take(handle: int, folder: Path, wait: bool, briefly: bool) -> None:
    try:
        if lock_at_once(handle):
            return
    except OSError as error:
        _warn_once(folder, error.strerror)
        return
    holder = _read_signature(handle)
    if not wait:
        raise StorageError(
            f"another run works in {folder}{holder}", "Wait until it ends, or stop it."
        )
    if not briefly:
        logger.warning("another run works in %s%s: waiting until it ends", folder, holder)
    lock_descriptor(handle, poll_interval=_LOOK_AGAIN_S)


@cache
def _warn_once(folder: Path, reason: str) -> None:
    logger.warning("%s cannot be locked (%s): run nothing else there", folder, reason)


def _signature() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f" (process {os.getpid()} on {platform.node() or 'this-machine'}, since {since})"


def _sign(handle: int, text: str) -> None:
    """Tell others who holds the lock; on a full disk nobody is told."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, text.encode())


def _read_signature(handle: int) -> str:
    """Who holds the lock, if it has said so: the file may hold anything.

    Its first byte, a space, is what Windows locks and lets nobody else read.
    """
    try:
        os.lseek(handle, 1, os.SEEK_SET)
        text = os.read(handle, 400).decode()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" {text}" if _SIGNATURE.fullmatch(text) else ""
