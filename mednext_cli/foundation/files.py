"""Files that are either whole or not there: write beside, fsync, rename."""

import codecs
import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mednext_cli.foundation.cells import to_cell
from mednext_cli.foundation.errors import (
    DatasetError,
    MednextError,
    SettingsError,
    StorageError,
)
from mednext_cli.foundation.leftovers import name_beside, remove_leftovers

_REMEDY = {
    errno.ENOSPC: "Free some space there and run the same command again.",
    errno.EFBIG: "The limit on file sizes is too low: see ulimit -f.",
    errno.EDQUOT: "Your quota is used up: free some space and run the same command again.",
    errno.EACCES: "Choose a folder you may write to.",
    errno.EPERM: "Choose a folder you may write to.",
    errno.EROFS: "Choose a folder on a disk that is not read-only.",
}
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one line a user needs when the disk refuses to take `path`."""
    # Libraries put long texts of their own into strerror.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return StorageError(
        f"{path} cannot be written: {reason[:1].lower()}{reason[1:]}",
        _REMEDY.get(error.errno or 0, "Check the disk and the path."),
        error.errno,
    )


def make_folder(path: Path) -> Path:
    """Create `path` with its parents; raises `StorageError` where that is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    return path


def check_writable(folder: Path) -> None:
    """Refuse a folder that no file can be made in, there or not yet; nothing is left behind.

    By trying: permissions say little about root, network disks and what is mounted read-only.

    Raises:
        StorageError: it cannot be made, is a file, or takes no files.
    """
    if _exists(folder) and not folder.is_dir():
        raise StorageError(f"{folder} is a file, not a folder", "Choose another.")
    missing = [path for path in (folder, *folder.parents) if not _exists(path)]
    probe = name_beside(folder / "probe")
    try:
        make_folder(folder)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise error if isinstance(error, StorageError) else storage_error(folder, error) from error
    finally:
        for made in missing:
            with contextlib.suppress(OSError):  # not made, or somebody else's file is in it
                made.rmdir()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system
        return False


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a name beside `path` to write to; on success it is synced and takes its place.

    The temporary name keeps the suffix of `path` (libraries choose formats by it) and starts with
    a dot, so that no reader takes it for a result; what a killed run left is removed. Whatever
    happens, `path` is the old file or the new one.

    Args:
        path: the file.
        sync: wait until the disk has it. Without, a power cut may leave an empty file; for what
            is cheap to make again.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
    """
    make_folder(path.parent)
    _tidy(path.parent)
    beside = name_beside(path)
    try:
        yield beside
        if sync:
            _sync_file(beside)
        beside.replace(path)
        if sync:
            _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, StorageError) or error.errno is None:
            raise
        raise storage_error(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


@cache
def _tidy(folder: Path) -> None:
    """Once a process and folder: a run that was killed there may have left something."""
    remove_leftovers(folder)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; some file systems cannot sync folders, and need not."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) in one step."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Add a line to a text that people follow while it grows (``tail -f``); it may end anywhere.

    Raises:
        StorageError: the disk refuses.
    """
    make_folder(path.parent)
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
    except OSError as error:
        raise storage_error(path, error) from error


def write_csv(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    digits: int | None = None,
) -> None:
    """Replace `path` by a comma-separated table in one step.

    None becomes an empty cell, and no text does harm (`cells.to_cell`): numbers are to be given as
    numbers, since a text that begins with a sign is quoted.

    Args:
        path: the file.
        header: its first line.
        rows: the others.
        digits: significant digits of floats; None for all.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(to_cell, header))
    writer.writerows((to_cell(value, digits) for value in row) for row in rows)
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - JSON holds anything
    """Replace `path` by `value` as indented JSON in one step."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_text(
    path: Path, kind: type[MednextError] = DatasetError, what: str = "a text file"
) -> str:
    """A text that somebody wrote: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Notepad and PowerShell put the mark there, PowerShell's ``>`` writes UTF-16. Lines end in a line
    feed, whatever they end in on the disk.

    Args:
        path: the file.
        kind: of the error to raise.
        what: it is to be, for that error.

    Raises:
        MednextError: the file is missing, cannot be read or is no such text.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise kind(f"{path} does not exist", "Check the path that was given.") from error
    except (OSError, ValueError) as error:  # ValueError: the name holds a NUL
        reason = error.strerror if isinstance(error, OSError) else "that cannot be a name"
        raise kind(f"{path} cannot be read: {reason}", "Check the file.") from error
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is not {error.encoding.upper()}"
        raise kind(f"{path} is not {what}: {where}", "Save it as UTF-8.") from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _encoding(content: bytes) -> str:
    """Told by the byte order mark; the mark of UTF-32 begins like that of UTF-16."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    return "utf-8"


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON holds anything
    """The content of a JSON file.

    Raises:
        DatasetError: the file is missing, no text or not JSON.
    """
    try:
        return json.loads(read_text(path, what="valid JSON"))
    except ValueError as error:
        if isinstance(error, MednextError):
            raise
        raise DatasetError(f"{path} is not valid JSON: {error}", "Correct the file.") from error
    except RecursionError as error:
        raise DatasetError(f"{path} is nested too deeply", "Correct the file.") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        SettingsError: the file is missing, no text or not TOML.
    """
    try:
        return tomllib.loads(read_text(path, SettingsError, "a TOML file"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not a TOML file: {error}", "Correct the file.") from error
    except (RecursionError, ValueError) as error:
        if isinstance(error, MednextError):
            raise
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SettingsError(f"{path} is not a TOML file: {reason}", "Correct the file.") from error


def listed_names(text: str) -> tuple[str, ...]:
    """Names as an option gives them: with commas between, or a file with one a line.

    Names come in Unicode's composed form (NFC), as case ids do. Empty ones are left out.

    Raises:
        SettingsError: there is a file of that name that is no text.
    """
    path = Path(text)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a name
        is_file = False
    listed = read_text(path, SettingsError).split("\n") if is_file else text.split(",")
    return tuple(unicodedata.normalize("NFC", name.strip()) for name in listed if name.strip())


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
