"""nnU-Net raw folders, version 1 (TaskXXX_Name) and version 2 (DatasetXXX_Name).

A channel is a file of its own: ``imagesTr/CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, ... The two
versions are told apart by their labels: number to name is version 1, name to number version 2.
Numbers to names are read in a version 2 as well, which lists no cases and says how files end.
Formats: nnU-Net `documentation/dataset_format.md`, `region_based_training.md`, `ignore_label.md`.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case, Channel, Dataset
from mednext_cli.datasets.label_table import (
    channel_names,
    is_numbered,
    labels_of,
)
from mednext_cli.datasets.names import is_hidden, problem_of_id, shortened
from mednext_cli.datasets.raw_folder import (
    Scans,
    check_folder,
    check_label_names,
    folder_name,
    inside,
    is_folder,
    note_hidden,
    read_description,
    require,
    scan_id,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.scan_names import SCAN_ENDINGS, ending_of

logger = logging.getLogger(__name__)
_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")


class NnunetLayout:
    """TaskXXX_Name or DatasetXXX_Name with dataset.json, imagesTr, labelsTr and imagesTs."""

    description = "nnU-Net raw folder, v1 (TaskXXX) or v2 (DatasetXXX): CASE_0000.nii.gz a channel"
    label_set: LabelSet | None = None

    def recognises(self, raw: Path) -> bool:
        """Whether there is a dataset.json beside images with channel numbers in their names."""
        if not (raw / "dataset.json").is_file():
            return False
        return any(_CHANNEL.fullmatch(name) for name in Scans(raw / "imagesTr"))

    def read(self, raw: Path) -> Dataset:
        """List the cases; a missing channel or label keeps its expected path.

        Raises:
            DatasetError: no dataset.json, or one with missing keys, unreadable file endings,
                paths that leave the folder, duplicate cases or unnamed channels.
        """
        check_folder(raw)
        where = raw / "dataset.json"
        description = read_description(raw)
        table = require(description, "labels", dict, where)
        key = "channel_names" if "channel_names" in description else "modality"
        channels = channel_names(require(description, key, dict, where), where)
        labels = labels_of(table, description.get("regions_class_order"), where)
        listed = "training" in description or "file_ending" not in description
        read = _listed_cases if is_numbered(table) and listed else _version_2_cases
        cases = read(raw, description, len(channels))
        return Dataset(folder_name(raw), "nnunet", channels, labels, sorted_unique(cases, raw))


LAYOUT = NnunetLayout()


def _listed_cases(raw: Path, description: dict[str, Any], channels: int) -> list[Case]:
    """Version 1: training cases as listed, without channel numbers; test cases as found.

    Published converters write test lists with wrong paths, so those are not looked at.
    """
    where = raw / "dataset.json"
    folders: dict[Path, Scans] = {}
    cases, hidden = [], []
    for entry in require(description, "training", list, where):
        pair = entry if isinstance(entry, dict) else {"image": entry}
        image = inside(raw, pair.get("image"), where)
        if is_hidden(image.name):
            hidden.append(image.name)
            continue
        scans = folders.setdefault(image.parent, Scans(image.parent))
        case_id = scan_id(image.name)
        _check_listed(where, image, scans)
        label = inside(raw, pair.get("label", f"labelsTr/{image.name}"), where)
        files = [scans.path(f"{case_id}_{index:04d}") for index in range(channels)]
        cases.append(Case(case_id, tuple(map(Channel, files)), label))
    note_hidden(where, hidden)
    return [*cases, *_found_cases(raw, "imagesTs", None, SCAN_ENDINGS[0], channels)]


def _check_listed(where: Path, image: Path, scans: Scans) -> None:
    case_id = scan_id(image.name)
    numbered = _CHANNEL.fullmatch(case_id)
    if numbered and case_id in scans and f"{case_id}_0000" not in scans:
        raise DatasetError(
            f"{where} names {image.name}, with the number of a channel",
            f"Version 1 lists the case: {numbered['id']}{ending_of(image.name)}.",
        )


def _version_2_cases(raw: Path, description: dict[str, Any], channels: int) -> list[Case]:
    where = raw / "dataset.json"
    ending = require(description, "file_ending", str, where)
    if ending.lower() not in SCAN_ENDINGS:
        raise DatasetError(
            f"{where}: files end in {shortened(ending)}; only {', '.join(SCAN_ENDINGS)} can be "
            "read",
            "Convert the scans to .nii.gz and set file_ending.",
        )
    if "dataset" in description:
        return _explicit_cases(raw, require(description, "dataset", dict, where), channels)
    training = _found_cases(raw, "imagesTr", "labelsTr", ending, channels)
    return [*training, *_found_cases(raw, "imagesTs", None, ending, channels)]


def _explicit_cases(raw: Path, table: dict[str, Any], channels: int) -> list[Case]:
    """Version 2 with the key ``dataset``: every file is named."""
    where = raw / "dataset.json"
    cases = []
    for case_id, entry in table.items():
        if problem := problem_of_id(case_id):
            raise DatasetError(f"{where}: {shortened(case_id)} {problem}", "Rename the case.")
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(images, list) or len(images) != channels:
            raise DatasetError(
                f"{where}: case {case_id} does not name {channels} images", "Correct the entry."
            )
        label = inside(raw, entry["label"], where) if entry.get("label") else None
        files = tuple(Channel(inside(raw, image, where)) for image in images)
        cases.append(Case(scan_id(case_id), files, label))
    return cases


def _found_cases(
    raw: Path, images: str, labels: str | None, ending: str, channels: int
) -> list[Case]:
    """Cases as the files of a folder show them; a label without image counts too."""
    scans = _of_ending(Scans(raw / images), ending, needed=labels is not None)
    ids = _ids_of_images(scans, channels)
    maps: Mapping[str, Path] | None = None
    if labels is not None and is_folder(raw / labels):
        maps = _of_ending(Scans(raw / labels), ending)
        check_label_names(ids, maps, raw / images, raw / labels)
    elif labels is not None:
        logger.warning("%s has no %s: its cases count as unlabelled", raw, labels)

    def file(case_id: str, index: int) -> Path:
        name = f"{case_id}_{index:04d}"
        return scans.get(name, raw / images / f"{name}{ending}")

    return [
        Case(
            case_id,
            tuple(Channel(file(case_id, index)) for index in range(channels)),
            None if maps is None else maps.get(case_id, raw / str(labels) / f"{case_id}{ending}"),
        )
        for case_id in sorted(ids.union(maps or ()))
    ]


def _of_ending(scans: Scans, ending: str, needed: bool = True) -> dict[str, Path]:
    """The scans that end as dataset.json says, in upper or lower case, by name without ending.

    Where they are needed, a folder is refused whose scans all end otherwise.
    """
    paths = {stem: scans.path(stem) for stem in scans}
    found = {
        stem: path for stem, path in paths.items() if ending_of(path.name).lower() == ending.lower()
    }
    if needed and paths and not found:
        name = min(path.name for path in paths.values())
        raise DatasetError(
            f"no scan in {scans.folder} ends in {ending}, as dataset.json says: {name} is there",
            "Correct file_ending there, or convert the files: all scans must end alike.",
        )
    return found


def _ids_of_images(scans: Mapping[str, Path], channels: int) -> set[str]:
    ids = set()
    for stem, path in scans.items():
        match = _CHANNEL.fullmatch(stem)
        if match is None:
            raise DatasetError(
                f"{path} has no channel number in its name",
                f"Rename it to {stem}_0000{ending_of(path.name)}, say.",
            )
        if int(match["channel"]) >= channels:
            raise DatasetError(
                f"{path} is a channel that dataset.json does not name",
                f"It names {channels}; add the channel there or remove the file.",
            )
        ids.add(match["id"])
    return ids
