"""Who works on what in a folder that several processes fill together.

Claims are locks on small hidden files: they end with their process, however it ends, also on
another machine. Everything here is called under the folder's lock (`foundation.locks.locked`).
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from mednext_cli.foundation.files import storage_error
from mednext_cli.foundation.locks import lock_at_once

_RUNNING, _CLAIM = ".running-", ".claim-"


class Claims:
    """This process's share of the work in a folder.

    Args:
        folder: that several processes may work in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._joined: int | None = None
        self._presence = folder / f"{_RUNNING}{secrets.token_hex(8)}"

    def others_run(self) -> bool:
        """Whether another process works here."""
        return any(_is_locked(path) for path in self._traces() if path != self._presence)

    def join(self) -> None:
        """Be known as one who works here until `leave`."""
        self._joined = _open(self._presence)
        _lock(self._joined)

    def take(self, name: str) -> bool:
        """Claim a case; False where another process has it."""
        if name in self._held:
            return True
        handle = _open(self._path(name))
        if _lock(handle):
            self._held[name] = handle
            return True
        os.close(handle)
        return False

    def give_back(self, name: str) -> None:
        """End the claim on a case."""
        handle = self._held.pop(name, None)
        if handle is not None:
            _remove(self._path(name))
            os.close(handle)

    def leave(self) -> bool:
        """End everything; whether nobody works here any more, and all traces are removed."""
        for name in list(self._held):
            self.give_back(name)
        if self._joined is not None:
            _remove(self._presence)
            os.close(self._joined)
            self._joined = None
        if self.others_run():
            return False
        for path in (*self._traces(), *self._folder.glob(f"{_CLAIM}*")):
            _remove(path)
        return True

    def abandon(self) -> None:
        """End everything without a word to the disk, which may be gone."""
        for handle in (*self._held.values(), self._joined):
            if handle is not None:
                with contextlib.suppress(OSError):
                    os.close(handle)
        self._held, self._joined = {}, None

    def _traces(self) -> list[Path]:
        """Files of those who work here, or were killed."""
        return list(self._folder.glob(f"{_RUNNING}*"))

    def _path(self, name: str) -> Path:
        """A case's name may be as long as a file's may be, so the claim has its hash."""
        return self._folder / f"{_CLAIM}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def has_traces(folder: Path) -> bool:
    """Whether a run works here, or ended without tidying up."""
    return any(folder.glob(f"{_RUNNING}*"))


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(path, error) from error


def _lock(handle: int) -> bool:
    """Lock at once or not at all; where the file system has no locks, `locked` has warned."""
    try:
        return lock_at_once(handle)
    except OSError:
        return True


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
