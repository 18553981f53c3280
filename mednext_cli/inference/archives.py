"""Zip archives of scans, unpacked into a folder that is gone when the work is done."""

import errno
import shutil
import stat
import tempfile
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType

from mednext_cli.foundation.errors import ScanError, StorageError
from mednext_cli.foundation.files import storage_error

_MOST_FILES = 200_000
_MUCH = 2**30  # bytes that any archive may unpack to
_MOST_PACKED = 100  # to one, of a larger archive; scans are packed 2 to 20 to one
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}
_UNPACK = "Unpack it yourself and give the folder."


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(".zip")


class Scratch:
    """A temporary folder, made when it is first needed and removed at the end of the block."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._count = 0

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def shown(self, path: Path) -> str:
        """How people know a file that was unpacked: by its archive."""
        if self._folder is None or self._folder not in path.parents:
            return str(path)
        return str(Path(*path.relative_to(self._folder).parts[1:]))

    def unpack(self, archive: Path) -> Path:
        """The folder into which the archive was unpacked.

        Raises:
            ScanError: it is damaged, encrypted, unpacks to far more than scans do, or holds names
                that lead out of the folder. StorageError: the disk refuses.
        """
        if self._folder is None:
            made = tempfile.TemporaryDirectory(prefix="mednext-", ignore_cleanup_errors=True)
            self._folder = Path(self._stack.enter_context(made))
        self._count += 1
        into = self._folder / str(self._count) / archive.name  # which errors will name
        try:
            with zipfile.ZipFile(archive) as opened:
                members = _members(archive, opened)
                _check_size(archive, members, self._folder)
                for info, path in members:
                    _extract(opened, info, into / path)
        except StorageError:
            raise
        except OSError as error:
            raise ScanError(f"{archive} cannot be read: {error.strerror}", "Check it.") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            if isinstance(error, ScanError):
                raise
            raise ScanError(f"{archive} is damaged or no zip archive", "Copy it again.") from error
        into.mkdir(parents=True, exist_ok=True)
        return into


def _members(archive: Path, opened: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files in an archive, without hidden ones, and where each belongs."""
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        leads_out = path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]
        if leads_out or path in found:
            what = "twice" if path in found else "which leads out of its folder"
            raise ScanError(f"{archive} holds the name {info.filename!a} {what}", _UNPACK)
        if info.flag_bits & 1:
            raise ScanError(f"{archive} is encrypted", _UNPACK)
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if not (info.is_dir() or hidden or stat.S_ISLNK(info.external_attr >> 16)):
            found[path] = info
    return [(info, path) for path, info in found.items()]


def _check_size(
    archive: Path, members: list[tuple[zipfile.ZipInfo, PurePosixPath]], folder: Path
) -> None:
    claimed, stored = sum(info.file_size for info, _ in members), archive.stat().st_size
    if len(members) > _MOST_FILES or claimed > max(_MUCH, _MOST_PACKED * stored):
        raise ScanError(
            f"{archive} would unpack to {len(members)} files of {claimed / 2**30:.3g} GiB "
            f"together, which no scans do from {stored} bytes",
            _UNPACK,
        )
    free = shutil.disk_usage(folder).free
    if claimed > free:
        raise ScanError(
            f"{archive} unpacks to {claimed / 2**30:.3g} GiB, and {folder.parent} has "
            f"{free / 2**30:.3g} GiB left",
            "Set TMPDIR to a folder on a larger disk, or unpack it yourself and give the folder.",
        )


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """Write one file; `zipfile` reads no more of it than the archive says it has."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(info) as packed, path.open("wb") as stream:
            shutil.copyfileobj(packed, stream)
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise storage_error(path, error) from error
        raise ValueError(info.filename) from error  # a name too long, a file that is a folder, ...
