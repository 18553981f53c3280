"""What all layouts need to list a raw folder: scans by name, entries that stay inside, cases."""

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.datasets.names import (
    composed,
    is_hidden,
    problem_of_id,
    problem_of_name,
    shortened,
)
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_json
from mednext_cli.volumes.scan_names import SCAN_ENDINGS, ending_of, is_scan_name, stem_of

logger = logging.getLogger(__name__)
_NUMBERED = re.compile(r"(.+)_\d{4}")
CHECK = "Check the folder and --dataset."
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_JSON_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


class OtherLayoutError(DatasetError):
    """The folder is of another layout, or of none."""


def check_folder(raw: Path) -> None:
    """Raise `DatasetError` unless `raw` is a folder that can be listed."""
    try:
        there, folder = raw.exists(), raw.is_dir()
    except (OSError, ValueError) as error:  # no permission, or no name at all
        reason = getattr(error, "strerror", None) or "that cannot be a name"
        raise DatasetError(f"{raw} cannot be read: {reason}", "Check the path.") from error
    if not there:
        raise DatasetError(f"{raw} does not exist", "Give the folder of the raw dataset.")
    if not folder:
        raise DatasetError(f"{raw} is not a folder", "Give the folder of the raw dataset.")
    list_names(raw)


def list_names(folder: Path) -> list[str]:
    """Sorted names in `folder`, without hidden ones (macOS leaves ``._x`` and .DS_Store behind).

    Raises:
        DatasetError: the folder may not be read, or holds a name that no table could show.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be listed: {error.strerror}", "Check the permissions."
        ) from error
    shown = [name for name in names if not is_hidden(name)]
    for name in shown:
        if problem := problem_of_name(name):
            raise DatasetError(f"{folder} holds the name {name!a}, {problem}", "Rename it.")
    return shown


def is_folder(path: Path) -> bool:
    """Whether there is a folder, as far as that may be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False


def folder_name(raw: Path) -> str:
    """The name of the folder as it was given (``.`` resolved, symlinks kept)."""
    return Path(os.path.abspath(raw)).name  # noqa: PTH100 - Path.resolve would follow symlinks


def read_description(raw: Path) -> dict[str, Any]:
    """The dataset.json of a raw folder.

    Raises:
        DatasetError: it is missing, not JSON, or not an object.
    """
    path = raw / "dataset.json"
    if not path.exists():
        raise OtherLayoutError(f"{path} does not exist", CHECK)
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
    r"""The file a dataset.json names, which must lie below `raw`.

    Paths of Windows (``.\\imagesTr\\a.nii.gz``) are understood, and names in either of Unicode's
    normal forms. Only the name is looked at: a file inside that is a symbolic link may point
    anywhere, since whoever linked it meant to.

    Raises:
        DatasetError: the entry is no file name, or leaves the folder.
    """
    if not isinstance(entry, str) or not entry.strip():
        raise DatasetError(f"{where} names {entry!r}, which is no file name", "Correct the entry.")
    parts = entry.replace("\\", "/").split("/")
    for part in parts:
        if problem := problem_of_name(part):
            raise DatasetError(f"{where} names {shortened(entry)}, {problem}", "Rename the file.")
    normal = os.path.normpath("/".join(parts))
    root = os.path.abspath(raw)  # noqa: PTH100 - Path.resolve would follow symlinks
    if normal.startswith(f"{root}/"):
        normal = os.path.relpath(normal, root)
    if Path(normal).is_absolute() or normal.split("/")[0] in ("", ".", "..") or _DRIVE.match(entry):
        raise DatasetError(
            f"{where} names {shortened(entry)}, which points outside {raw}",
            "Move or link the file into the folder and name it relative to the folder.",
        )
    return as_on_disk(raw, normal)


def note_hidden(where: Path, names: Sequence[str]) -> None:
    """Say which hidden files a dataset.json lists, which are no scans (``._x`` of macOS)."""
    if names:
        note = "%s lists %d hidden files, which are passed over: %s%s"
        more = ", ..." if len(names) > 1 else ""
        logger.info(note, where, len(names), shortened(names[0]), more)


def as_on_disk(folder: Path, name: str) -> Path:
    """The file of that relative name, where macOS may have written letters and accents apart.

    Of several spellings the one that is there counts; with none, the name as given.
    """
    path = folder
    for part in Path(name).parts:
        below = path / part
        if not part.isascii() and not os.path.lexists(below):
            there = list_names(path) if is_folder(path) else []
            below = path / next(
                (entry for entry in there if composed(entry) == composed(part)), part
            )
        path = below
    return path


def scan_id(name: str) -> str:
    """A file name without its scan ending, in composed form: ``a.b.nii.gz`` gives ``a.b``."""
    return composed(stem_of(name))


class Scans:
    """The scan files of one folder, by name without ending.

    Args:
        folder: may be missing, which is an empty one.
        forgiving: take a folder that cannot be listed for one whose files all are there, so that
            reading them fails and not the whole dataset.

    Raises:
        DatasetError: the folder cannot be listed.
    """

    def __init__(self, folder: Path, *, forgiving: bool = False) -> None:
        self.folder = folder
        self.closed = False
        self._names: dict[str, list[str]] = {}
        try:
            names = list_names(folder) if is_folder(folder) else []
        except DatasetError as error:
            if not (forgiving and isinstance(error.__cause__, OSError)):
                raise
            self.closed, names = True, []
        for name in filter(is_scan_name, names):
            self._names.setdefault(scan_id(name), []).append(name)

    def __contains__(self, stem: str) -> bool:
        return self.closed or stem in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def path(self, stem: str) -> Path:
        """The scan of that name; where there is none, the path it would have.

        Raises:
            DatasetError: it is there under two endings, and nothing says which is meant.
        """
        names = self._names.get(stem, [f"{stem}{SCAN_ENDINGS[0]}"])
        if len(names) == 1:
            return self.folder / names[0]
        first, second = (self.folder / name for name in sorted(names, key=_preference)[:2])
        alike = composed(first.name) == composed(second.name)
        how = " (accents are written in two ways)" if alike else ""
        raise DatasetError(
            f"duplicate case: {first} and {second} are the same scan by name{how}", "Remove one."
        )


def _preference(name: str) -> int:
    return SCAN_ENDINGS.index(ending_of(name).lower())


def sorted_unique(cases: Iterable[Case], raw: Path) -> tuple[Case, ...]:
    """The cases sorted by id.

    Raises:
        DatasetError: there are none, two share their id, or an id cannot name files.
    """
    by_id: dict[str, Case] = {}
    for case in cases:
        if problem := problem_of_id(case.id):
            where = case.channels[0].path
            raise DatasetError(f"{where}: {shortened(case.id)} {problem}", "Rename the case.")
        if case.id in by_id:
            first, second = by_id[case.id].channels[0].path, case.channels[0].path
            both = f"{first} is listed twice" if first == second else f"{first} and {second}"
            raise DatasetError(f"duplicate case {case.id}: {both}", "Keep one of them.")
        by_id[case.id] = case
    if not by_id:
        raise DatasetError(f"{raw} holds no cases", "Check that it is the right folder.")
    return tuple(by_id[case_id] for case_id in sorted(by_id))


def check_label_names(
    images: Collection[str], labels: Mapping[str, Path], image_folder: Path, label_folder: Path
) -> None:
    """Refuse labels that are named in another way than images, be it a suffix or a channel number.

    Args:
        images: ids of the cases that have images.
        labels: label maps by name without ending.
        image_folder: for messages.
        label_folder: the same.

    Raises:
        DatasetError: no label is named like an image, or one like a channel of an image.
    """
    for name, path in labels.items():
        numbered = _NUMBERED.fullmatch(name)
        if numbered and name not in images and numbered[1] in images:
            raise DatasetError(
                f"{path} has a channel number in its name, which labels do not have",
                f"Rename it to {numbered[1]}{ending_of(path.name)}, and others like it.",
            )
    if images and labels and not set(images) & set(labels):
        image, label = min(images), labels[min(labels)]
        raise DatasetError(
            f"no label is named like an image: {label_folder} holds {label.name}, "
            f"{image_folder} the image of {image}",
            f"Name every label like its case: {image}{ending_of(label.name)}.",
        )


def channels_of(path: Path, count: int) -> tuple[Channel, ...]:
    """One file's channels: itself, or `count` volumes along its fourth axis."""
    if count == 1:
        return (Channel(path),)
    return tuple(Channel(path, index) for index in range(count))
