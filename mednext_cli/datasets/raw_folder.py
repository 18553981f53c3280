"""What all layouts need to list a raw folder: names, entries that stay inside, unique cases."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_json
from mednext_cli.volumes.scan_names import SCAN_ENDINGS, stem_of

_JSON_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


def check_folder(raw: Path) -> None:
    """Raise `DatasetError` unless `raw` is a folder that can be listed."""
    if not raw.exists():
        raise DatasetError(f"{raw} does not exist", "Give the folder of the raw dataset.")
    if not raw.is_dir():
        raise DatasetError(f"{raw} is not a folder", "Give the folder of the raw dataset.")
    list_names(raw)


def list_names(folder: Path) -> list[str]:
    """Sorted names in `folder`, without hidden ones (macOS leaves ``._x`` and .DS_Store behind).

    Raises:
        DatasetError: the folder may not be read, or a name in it is not UTF-8.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be listed: {error.strerror}", "Check the permissions."
        ) from error
    for name in names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # how Python holds stray bytes
            raise DatasetError(
                f"{folder} holds the name {name!a}, which is not UTF-8", "Rename that file."
            )
    return names


def folder_name(raw: Path) -> str:
    """The name of the folder as it was given (``.`` resolved, symlinks kept)."""
    return Path(os.path.abspath(raw)).name  # noqa: PTH100 - Path.resolve would follow symlinks


def read_description(raw: Path) -> dict[str, Any]:
    """The dataset.json of a raw folder.

    Raises:
        DatasetError: it is missing, not JSON, or not an object.
    """
    path = raw / "dataset.json"
    description = read_json(path)
    if not isinstance(description, dict):
        raise DatasetError(f"{path} holds no JSON object", "Check that it is a dataset.json.")
    return description


def require(description: dict[str, Any], key: str, kind: type, where: Path) -> Any:  # noqa: ANN401
    """The value of a key of dataset.json, of the JSON type that the format demands.

    Raises:
        DatasetError: the key is missing or holds another type.
    """
    if key not in description:
        raise DatasetError(f"{where} has no key {key!r}", "Add the key.")
    if not isinstance(description[key], kind):
        raise DatasetError(f"{where}: {key!r} is not {_JSON_KINDS[kind]}", "Correct the key.")
    return description[key]


def inside(raw: Path, entry: object, where: Path) -> Path:
    """The file a dataset.json names, which must lie below `raw`.

    Only the name is looked at: a file inside that is a symbolic link may point anywhere, since
    whoever linked it meant to.

    Raises:
        DatasetError: the entry is no text, is absolute or leaves the folder.
    """
    if not isinstance(entry, str) or not entry.strip() or "\0" in entry:
        raise DatasetError(f"{where} names {entry!r}, which is no file name", "Correct the entry.")
    normal = os.path.normpath(entry)
    if Path(normal).is_absolute() or Path(normal).parts[:1] == ("..",):
        raise DatasetError(
            f"{where} names {entry!r}, which points outside {raw}",
            "Move or link the file into the folder and name it relative to the folder.",
        )
    return raw / normal


def scan_id(name: str) -> str:
    """A file name without its scan ending: ``a.b.nii.gz`` gives ``a.b``."""
    return stem_of(name)


def either_ending(folder: Path, stem: str) -> Path:
    """``stem.nii.gz`` or, where only that is there, ``stem.nii``.

    Raises:
        DatasetError: both are there, and nothing says which is meant.
    """
    found = [folder / f"{stem}{end}" for end in SCAN_ENDINGS if (folder / f"{stem}{end}").exists()]
    if len(found) > 1:
        raise DatasetError(
            f"duplicate case: {found[0]} and {found[1]} are the same scan by name", "Remove one."
        )
    return found[0] if found else folder / f"{stem}{SCAN_ENDINGS[0]}"


def sorted_unique(cases: Iterable[Case], raw: Path) -> tuple[Case, ...]:
    """The cases sorted by id.

    Raises:
        DatasetError: there are none, or two share their id.
    """
    by_id: dict[str, Case] = {}
    for case in cases:
        if case.id in by_id:
            first, second = by_id[case.id].channels[0].path, case.channels[0].path
            both = f"{first} is listed twice" if first == second else f"{first} and {second}"
            raise DatasetError(f"duplicate case {case.id}: {both}", "Keep one of them.")
        by_id[case.id] = case
    if not by_id:
        raise DatasetError(f"{raw} holds no cases", "Check that it is the right folder.")
    return tuple(by_id[case_id] for case_id in sorted(by_id))


def channels_of(path: Path, count: int) -> tuple[Channel, ...]:
    """One file's channels: itself, or `count` volumes along its fourth axis."""
    if count == 1:
        return (Channel(path),)
    return tuple(Channel(path, index) for index in range(count))
