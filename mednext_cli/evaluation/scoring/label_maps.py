"""The label maps at a place, by case; what looks like one and is none is named."""

import logging
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mednext_cli.datasets.raw_folder import list_names, scan_id
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.volumes.scan_names import SCAN_ENDINGS, Listing, is_scan_name, list_scans

ENDINGS = f"Label maps end in {', '.join(SCAN_ENDINGS)}"
_SEGMENTATION = "segmentation"  # KiTS19 calls every case's label map so, in a folder of its own
_FEW = 3
logger = logging.getLogger(__name__)


def find_label_maps(place: Path) -> dict[str, Path]:
    """Label maps by case id at a file or in a folder; empty where the folder holds none.

    A folder without label maps of its own may hold a folder a case, with ``segmentation`` or a file
    of the folder's own name inside. Files and sub-folders that are passed over are named.

    Raises:
        DatasetError: nothing is there, or a scan is there under two endings.
    """
    if not place.exists():
        raise DatasetError(f"{place} does not exist", "Check the path.")
    if place.is_file():
        if not is_scan_name(place.name):
            raise DatasetError(f"{place} is no label map", f"{ENDINGS}.")
        return {_case_id(place): place}
    listing = _listing(place)
    _note_unread(listing.unread)
    maps = _by_name(listing.scans)
    folders = [path for path in listing.others if path.is_dir()]
    if not maps:
        return _of_case_folders(folders)
    if strange := [path.name for path in folders if _listing(path).scans]:
        what = "sub-folder" if len(strange) == 1 else "sub-folders"
        logger.warning("%s: %s with scans passed over: %s", place, what, few(strange))
    return maps


def folders_with_scans(place: Path) -> list[str]:
    """Names of the sub-folders that hold scans, for hints."""
    if not place.is_dir():
        return []
    return [path.name for path in _listing(place).others if path.is_dir() and _listing(path).scans]


def same_form(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS writes the others."""
    return unicodedata.normalize("NFC", name)


def few(names: Iterable[str]) -> str:
    """The first names in order, and dots where there are more."""
    listed = sorted(names)
    return ", ".join(listed[:_FEW]) + (", ..." if len(listed) > _FEW else "")


def _listing(folder: Path) -> Listing:
    return list_scans(folder / name for name in list_names(folder))


def _note_unread(unread: Mapping[Path, str]) -> None:
    for path, reason in unread.items():
        logger.warning("%s is passed over: %s", path, reason)


def _by_name(scans: Sequence[Path]) -> dict[str, Path]:
    maps: dict[str, Path] = {}
    for path in scans:
        name = same_form(scan_id(path.name))
        if name in maps:
            raise DatasetError(
                f"duplicate case: {maps[name]} and {path} are the same scan by name", "Remove one."
            )
        maps[name] = path
    return maps


def _of_case_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """The label map in each case's folder; folders without one are named where others have one."""
    maps: dict[str, Path] = {}
    without = []
    for folder in folders:
        scans = _by_name(_listing(folder).scans)
        wanted = [name for name in scans if name.lower() == _SEGMENTATION]
        wanted = wanted or [name for name in scans if name == same_form(folder.name)]
        if wanted:
            maps[same_form(folder.name)] = scans[wanted[0]]
        elif scans:
            without.append(folder.name)
    if maps and without:
        logger.info("no %s in %d folders: %s", _SEGMENTATION, len(without), few(without))
    return maps


def _case_id(path: Path) -> str:
    name = same_form(scan_id(path.name))
    return same_form(path.absolute().parent.name) if name.lower() == _SEGMENTATION else name
