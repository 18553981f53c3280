"""Names of half-written files and folders, and the removal of those whose writer is no more."""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import time
from functools import cache
from pathlib import Path

_NAME = re.compile(r"\.(\d+)-([0-9a-f]{6})-[0-9a-f]{6}\..+")
_LONGEST_BYTES = 200  # of the name that is kept, its end: file systems take 255 in all
_ABANDONED_SECONDS = 7 * 24 * 3600  # what another machine has not finished by then


def name_beside(path: Path) -> Path:
    """A name in the folder of `path` for writing it: hidden, of this process, suffix kept."""
    process, machine, random = os.getpid(), _machine(), os.urandom(3).hex()
    return path.with_name(f".{process}-{machine}-{random}.{_end_of(path.name)}")


def _end_of(name: str) -> str:
    while len(os.fsencode(name)) > _LONGEST_BYTES:
        name = name[1:]
    return name.lstrip(".")


@cache
def _machine() -> str:
    """Six digits for where a process number means this process: host, boot, container."""
    where = [socket.gethostname().encode()]
    with contextlib.suppress(OSError):
        where.append(Path("/proc/sys/kernel/random/boot_id").read_bytes())
        where.append(str(Path("/proc/self/ns/pid").stat().st_ino).encode())
    return hashlib.sha256(b"\n".join(where)).hexdigest()[:6]


def remove_leftovers(folder: Path, *, alone: bool = False) -> None:
    """Remove the half-written files and folders of processes that are no more.

    Another machine's are left alone for a week: whether its processes live cannot be seen.

    Args:
        folder: where to look; it need not be there.
        alone: whether nobody but the caller, who writes nothing now, may be writing there.
    """
    for path in folder.glob(".*"):
        found = _NAME.fullmatch(path.name)
        if found and (alone or _is_abandoned(path, int(found[1]), found[2])):
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path, process: int, machine: str) -> bool:
    if machine == _machine():
        return not _is_alive(process)
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    except OSError:  # gone meanwhile
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
