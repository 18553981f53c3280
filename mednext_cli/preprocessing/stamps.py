"""What raw files are, so that a changed one is noticed and an unchanged one is not read again."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import ScanError
from mednext_cli.foundation.files import hash_file
from mednext_cli.volumes.scans import format_of

_SETTLED_NS = 2_000_000_000  # a file changed twice within a clock tick keeps its times


@dataclass(frozen=True)
class Stamp:
    """One raw file.

    Attributes:
        size: bytes.
        modified_ns: modification time; 0 where it was too recent to rely on.
        changed_ns: status-change time, which the kernel sets and no tool puts back.
        sha256: of the content.
    """

    size: int
    modified_ns: int
    changed_ns: int
    sha256: str


Stamps = dict[str, Stamp]


def read_stamps(values: Mapping[str, Mapping[str, Any]]) -> Stamps:
    """Stamps by path, from their JSON (`vars` of each)."""
    return {path: Stamp(**stamp) for path, stamp in values.items()}


def take_stamps(case: Case) -> Stamps:
    """Read and hash the files of a case.

    Raises:
        ScanError: one is missing or unreadable.
    """
    return {_name(path): _take_stamp(path) for path in files_of(case)}


def _name(path: Path) -> str:
    return str(path.absolute())


def files_of(case: Case) -> list[Path]:
    """The files of a case, each once; those of a series, a pair or masks one by one."""
    paths = [path for channel in case.channels for path in _files_at(channel.path)]
    return list(dict.fromkeys([*paths, *_label_files(case)]))


def _files_at(path: Path) -> list[Path]:
    try:
        return format_of(path).files_of(path)
    except OSError as error:
        raise ScanError(f"{path} cannot be listed: {error.strerror}", "Check it.") from error


def _label_files(case: Case) -> list[Path]:
    if case.label is None:
        return []
    if case.masks is not None:
        return [case.label / name for name, _ in case.masks]
    return _files_at(case.label)


def is_unchanged(path: Path, stamps: Stamps) -> bool:
    """Whether size and both times are those of its stamp; only the file's status is read."""
    stamp = stamps.get(_name(path))
    try:
        status = path.stat()
    except OSError:
        return False
    return stamp is not None and (status.st_size, status.st_mtime_ns, status.st_ctime_ns) == (
        stamp.size,
        stamp.modified_ns,
        stamp.changed_ns,
    )


def _take_stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # of a pipe or device there is no end to read
            raise ScanError(f"{path} is no file", "Put the scan there.")
        settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
        times = (status.st_mtime_ns, status.st_ctime_ns) if settled else (0, 0)
        return Stamp(status.st_size, *times, hash_file(path))
    except FileNotFoundError as error:
        raise ScanError(
            f"{path} does not exist", "Check the path, or download the file again."
        ) from error
    except OSError as error:
        raise ScanError(f"{path} cannot be read: {error.strerror}", "Check the file.") from error


def content_of(case: Case, stamps: Stamps) -> list[Any]:
    """What a case holds, wherever its files lie: hash and index of each channel, and the label.

    Raises:
        KeyError: a file has no stamp.
    """
    channels = [[_hash_of(channel.path, stamps), channel.index] for channel in case.channels]
    if case.label is None or case.masks is None:
        return [channels, _hash_of(case.label, stamps) if case.label else None]
    masks = [[stamps[_name(case.label / name)].sha256, value] for name, value in case.masks]
    return [channels, masks]


def _hash_of(path: Path, stamps: Stamps) -> str | list[str]:
    """Of a file; of the slices of a DICOM series, which may be named anyhow, or of a pair."""
    files = _files_at(path)
    if files == [path]:
        return stamps[_name(path)].sha256
    return sorted(stamps[_name(file)].sha256 for file in files)


def content_key(*parts: Any) -> str:  # noqa: ANN401 - any JSON
    """Hash of plain values, the same in every process and version of Python."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
