"""What lies in a raw folder and belongs to no case is said, never left out in silence."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mednext_cli.datasets.dataset import Dataset
from mednext_cli.datasets.names import is_hidden, shortened
from mednext_cli.volumes.scan_names import is_scan_name, list_scans

logger = logging.getLogger(__name__)
_FEW = 3
_READ = {"dataset.json"}


@dataclass
class _Found:
    """Files that belong to no case, by what they are; folders that cannot be listed."""

    scans: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


def note_passed_over(raw: Path, dataset: Dataset, level: int) -> None:
    """Say which files below `raw` belong to no case of the dataset.

    Args:
        raw: the raw folder.
        dataset: as its layout read it.
        level: of the line about scans, which the user may have chosen to leave out.
    """
    found = _Found()
    used = _paths_of(dataset)
    parents = {parent for path in used for parent in path.parents}
    for folder, files in _walk(raw, used, parents, found):
        _sort_out(raw, [folder / name for name in files], used, found)
    _say(level, "%s: %d scans belong to no case and are passed over (%s)", raw, found.scans)
    for name, why in list(found.unread.items())[:_FEW]:
        logger.warning("%s: %s is passed over: %s", raw, name, why)
    _say(logging.WARNING, "%s: %d more such files (%s)", raw, list(found.unread)[_FEW:])
    _say(logging.WARNING, "%s: %d folders cannot be listed (%s)", raw, found.closed)
    _say(logging.INFO, "%s: %d hidden files are passed over (%s)", raw, found.hidden)
    _say(logging.INFO, "%s: %d other files are no scans (%s)", raw, found.others)


def _say(level: int, text: str, raw: Path, names: list[str]) -> None:
    if names:
        shown = [shortened(name)[1:-1] for name in names[:_FEW]]
        logger.log(level, text, raw, len(names), ", ".join(shown) + ", ..." * (len(names) > _FEW))


def _paths_of(dataset: Dataset) -> set[Path]:
    """Files and folders that the cases consist of."""
    used = set()
    for case in dataset.cases:
        used |= {channel.path for channel in case.channels}
        if case.label is not None:
            used.add(case.label)
            used |= {case.label / name for name, _ in case.masks or ()}
    return used


def _walk(
    raw: Path, used: set[Path], parents: set[Path], found: _Found
) -> Iterator[tuple[Path, list[str]]]:
    """Folders below `raw` and the files in each; not into series, hidden folders or strange links.

    A folder of masks is used and is looked into: masks that no case takes are scans of no case.
    """
    waiting = [raw]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted((entry.name, _kind(entry)) for entry in entries)
        except OSError:
            found.closed.append(_name(folder, raw))
            continue
        yield folder, [name for name, kind in listed if kind == "file"]
        for name, kind in reversed(listed):
            below = folder / name
            looked_at = below in parents or (kind == "folder" and below not in used)
            if kind != "file" and looked_at and not is_hidden(name):
                waiting.append(below)


def _kind(entry: "os.DirEntry[str]") -> str:
    if not entry.is_dir():
        return "file"
    return "link" if entry.is_symlink() else "folder"


def _sort_out(raw: Path, paths: list[Path], used: set[Path], found: _Found) -> None:
    """Put the files of one folder where they belong; what a case uses belongs nowhere."""
    left = [path for path in paths if path not in used]
    if not left:
        return
    found.hidden += [_name(path, raw) for path in left if is_hidden(path.name)]
    found.scans += [
        _name(path, raw) for path in left if is_scan_name(path.name) and not is_hidden(path.name)
    ]
    rest = [path for path in left if not (is_scan_name(path.name) or is_hidden(path.name))]
    if not rest:
        return
    headers = [path for path in paths if is_scan_name(path.name)]
    listing = list_scans([*headers, *rest])
    found.unread |= {_name(path, raw): why for path, why in listing.unread.items()}
    found.others += [_name(path, raw) for path in listing.others if path.name not in _READ]


def _name(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()
