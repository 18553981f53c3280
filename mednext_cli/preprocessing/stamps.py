"""What raw files are, so that a changed one is noticed and an unchanged one is not read again."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import ScanError
from mednext_cli.foundation.files import hash_file

Stamp = dict[str, Any]


def stamp_case(case: Case, known: Iterable[Stamp] = ()) -> list[Stamp]:
    """Path, times, size and SHA-256 of each of a case's files.

    A file whose size, modification and status-change times are those of a known stamp is taken to
    be the same: the status-change time is set by the kernel and cannot be put back by tools.

    Raises:
        ScanError: a file is missing or unreadable.
    """
    by_path = {stamp["path"]: stamp for stamp in known}
    paths = dict.fromkeys([channel.path for channel in case.channels])
    if case.label is not None:
        paths[case.label] = None
    return [_stamp(path, by_path.get(str(path.absolute()))) for path in paths]


def _stamp(path: Path, known: Stamp | None) -> Stamp:
    try:
        status = path.stat()
        fresh: Stamp = {
            "path": str(path.absolute()),
            "size": status.st_size,
            "modified_ns": status.st_mtime_ns,
            "changed_ns": status.st_ctime_ns,
        }
        if known is not None and fresh == {key: known.get(key) for key in fresh}:
            return known
        return {**fresh, "sha256": hash_file(path)}
    except FileNotFoundError as error:
        raise ScanError(
            f"{path} does not exist", "Check the path, or download the file again."
        ) from error
    except OSError as error:
        raise ScanError(f"{path} cannot be read: {error.strerror}", "Check the file.") from error


def content_key(*parts: Any) -> str:  # noqa: ANN401 - any JSON
    """Hash of plain values, the same in every process and version of Python."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def contents(stamps: list[Stamp]) -> list[str]:
    """The hashes alone: a dataset that was moved is still the same."""
    return [str(stamp["sha256"]) for stamp in stamps]
