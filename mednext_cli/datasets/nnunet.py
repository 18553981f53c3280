"""nnU-Net raw folders, version 1 (TaskXXX_Name) and version 2 (DatasetXXX_Name).

A channel is a file of its own: ``imagesTr/CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, ... The two
versions are told apart by their labels: number to name is version 1, name to number version 2.
Formats: nnU-Net `documentation/dataset_format.md`, `region_based_training.md`, `ignore_label.md`.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case, Channel, Dataset, LabelSet
from mednext_cli.datasets.label_table import channel_names, named_labels, numbered_labels
from mednext_cli.datasets.raw_folder import (
    check_folder,
    folder_name,
    inside,
    list_names,
    read_description,
    require,
    scan_id,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.volumes.scans import SCAN_ENDINGS

logger = logging.getLogger(__name__)
_CHANNEL_FILE = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})(?P<ending>\.nii(\.gz)?|\.nrrd|\.mha)")


class NnunetLayout:
    """TaskXXX_Name or DatasetXXX_Name with dataset.json, imagesTr, labelsTr and imagesTs."""

    description = "nnU-Net raw folder, v1 (TaskXXX) or v2 (DatasetXXX): CASE_0000.nii.gz a channel"
    label_set: LabelSet | None = None

    def recognises(self, raw: Path) -> bool:
        """Whether there is a dataset.json beside images with channel numbers in their names."""
        images = raw / "imagesTr"
        if not ((raw / "dataset.json").is_file() and images.is_dir()):
            return False
        return any(_CHANNEL_FILE.fullmatch(name) for name in list_names(images))

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
        numbered = bool(table) and all(isinstance(name, str) for name in table.values())
        key = "channel_names" if "channel_names" in description else "modality"
        channels = channel_names(require(description, key, dict, where), where)
        if numbered:
            labels = numbered_labels(table, where)
            cases = _listed_cases(raw, description, len(channels))
        else:
            labels = named_labels(table, description.get("regions_class_order"), where)
            cases = _version_2_cases(raw, description, len(channels))
        return Dataset(folder_name(raw), "nnunet", channels, labels, sorted_unique(cases, raw))


LAYOUT = NnunetLayout()


def _listed_cases(raw: Path, description: dict[str, Any], channels: int) -> list[Case]:
    """Version 1: training cases as listed, without channel numbers; test cases as found.

    Published converters write test lists with wrong paths, so those are not looked at.
    """
    where = raw / "dataset.json"
    cases = []
    for entry in require(description, "training", list, where):
        pair = entry if isinstance(entry, dict) else {"image": entry}
        image = inside(raw, pair.get("image"), where)
        if image.name.startswith("."):
            continue
        case_id = scan_id(image.name)
        default = f"labelsTr/{case_id}{SCAN_ENDINGS[0]}"
        label = inside(raw, pair.get("label", default), where)
        files = [image.parent / f"{case_id}_{index:04d}.nii.gz" for index in range(channels)]
        cases.append(Case(case_id, tuple(map(Channel, files)), label))
    return [*cases, *_found_cases(raw, "imagesTs", None, SCAN_ENDINGS[0], channels)]


def _version_2_cases(raw: Path, description: dict[str, Any], channels: int) -> list[Case]:
    where = raw / "dataset.json"
    ending = require(description, "file_ending", str, where)
    if ending not in SCAN_ENDINGS:
        raise DatasetError(
            f"{where}: files end in {ending!r}; only {', '.join(SCAN_ENDINGS)} can be read",
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
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(images, list) or len(images) != channels:
            raise DatasetError(
                f"{where}: case {case_id} does not name {channels} images", "Correct the entry."
            )
        if not case_id or Path(case_id).name != case_id or case_id.startswith("."):
            raise DatasetError(f"{where}: {case_id!r} cannot name a case", "Rename the case.")
        label = inside(raw, entry["label"], where) if entry.get("label") else None
        files = tuple(Channel(inside(raw, image, where)) for image in images)
        cases.append(Case(case_id, files, label))
    return cases


def _found_cases(
    raw: Path, images: str, labels: str | None, ending: str, channels: int
) -> list[Case]:
    """Cases as the files of a folder show them; a label without image counts too."""
    ids = set(_ids_of_images(raw / images, ending, channels))
    folder = raw / labels if labels else None
    if folder is not None and folder.is_dir():
        ids |= _ids_of_labels(folder, ending)
    elif folder is not None:
        folder = None
        logger.warning("%s has no %s: its cases count as unlabelled", raw, labels)
    return [
        Case(
            case_id,
            tuple(
                Channel(raw / images / f"{case_id}_{index:04d}{ending}")
                for index in range(channels)
            ),
            folder / f"{case_id}{ending}" if folder else None,
        )
        for case_id in sorted(ids)
    ]


def _ids_of_images(folder: Path, ending: str, channels: int) -> set[str]:
    names = list_names(folder) if folder.is_dir() else []
    _check_endings(folder, names, ending)
    ids = set()
    for name in names:
        match = _CHANNEL_FILE.fullmatch(name)
        if match is None:
            if name.endswith(ending):
                raise DatasetError(
                    f"{folder / name} has no channel number in its name",
                    f"Rename it to {name.removesuffix(ending)}_0000{ending}, say.",
                )
            continue
        if match["ending"] != ending:
            continue
        if int(match["channel"]) >= channels:
            raise DatasetError(
                f"{folder / name} is a channel that dataset.json does not name",
                f"It names {channels}; add the channel there or remove the file.",
            )
        ids.add(match["id"])
    return ids


def _ids_of_labels(folder: Path, ending: str) -> set[str]:
    names = list_names(folder)
    _check_endings(folder, names, ending)
    return {name.removesuffix(ending) for name in names if name.endswith(ending)}


def _check_endings(folder: Path, names: Iterable[str], ending: str) -> None:
    """Files of the other ending are left out; the same scan under both is an error."""
    stems: dict[str, str] = {}
    others = []
    for name in names:
        if not name.endswith(SCAN_ENDINGS):
            continue
        if scan_id(name) in stems:
            raise DatasetError(
                f"duplicate case: {folder / stems[scan_id(name)]} and {folder / name} are the "
                "same scan by name",
                "Remove one.",
            )
        stems[scan_id(name)] = name
        others += [] if name.removeprefix(scan_id(name)) == ending else [name]
    if others:
        note = "%s: %d files do not end in %s, e.g. %s; they are left out"
        logger.warning(note, folder, len(others), ending, others[0])
