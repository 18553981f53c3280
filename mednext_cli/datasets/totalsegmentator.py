"""TotalSegmentator: one folder a subject, one binary mask a structure.

Source: Zenodo, TotalSegmentator CT (v1 104, v2 117 structures) and MRI. As in its own
``combine_labels``, structures are numbered from 1 in the order they are named, a later mask is
written over an earlier one, and a mask that is missing is empty.
"""

import logging
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset, LabelSet, region_name
from mednext_cli.datasets.raw_folder import (
    check_folder,
    either_ending,
    list_names,
    scan_id,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError, SettingsError, nearest
from mednext_cli.volumes.scans import SCAN_ENDINGS

logger = logging.getLogger(__name__)
_SCANS = {"ct": "CT", "mri": "MR"}
_MASKS = "segmentations"


class TotalSegmentatorLayout:
    """s0000/ct.nii.gz or mri.nii.gz, with segmentations/NAME.nii.gz, one file a structure."""

    description = "TotalSegmentator: s0000/ct.nii.gz or mri.nii.gz, segmentations/NAME.nii.gz"
    label_set: LabelSet | None = None
    options = ("structures",)

    def recognises(self, raw: Path) -> bool:
        """Whether a folder holds ct or mri beside a folder of masks."""
        return any((subject / _MASKS).is_dir() for subject, _ in _subjects(raw))

    def read(self, raw: Path, structures: tuple[str, ...] | None = None) -> Dataset:
        """List the subjects; those without a folder of masks are unlabelled.

        Args:
            raw: the raw folder.
            structures: names of the masks to take, as labels 1, 2, ... in this order; None takes
                all that any subject has, in alphabetical order.

        Raises:
            DatasetError: no subjects, CT and MR mixed, or no masks.
            SettingsError: no subject has a structure that is named.
        """
        check_folder(raw)
        subjects = _subjects(raw)
        if not subjects:
            raise DatasetError(
                f"{raw} holds no s0000/ct.nii.gz or s0000/mri.nii.gz",
                "Check the folder and --dataset.",
            )
        kinds = {kind for _, kind in subjects}
        if len(kinds) > 1:
            raise DatasetError(
                f"{raw} holds both ct and mri scans", "Make two folders, one of each."
            )
        names = _choose(raw, [subject for subject, _ in subjects], structures)
        values = {name: value for value, name in enumerate(names, start=1)}
        labels = LabelSet(values, {name: (value,) for name, value in values.items()})
        cases = [_read_case(subject, kind, values) for subject, kind in subjects]
        channels = (_SCANS[kinds.pop()],)
        unique = sorted_unique(cases, raw)
        return Dataset("totalsegmentator", "totalsegmentator", channels, labels, unique)


LAYOUT = TotalSegmentatorLayout()


def _subjects(raw: Path) -> list[tuple[Path, str]]:
    """Folders that hold a scan, and which of the two it is."""
    names = list_names(raw) if raw.is_dir() else []
    folders = [raw / name for name in names if (raw / name).is_dir()]
    return [
        (folder, kind)
        for folder in folders
        for kind in _SCANS
        if any((folder / f"{kind}{ending}").exists() for ending in SCAN_ENDINGS)
    ]


def _masks_of(subject: Path) -> set[str]:
    folder = subject / _MASKS
    names = list_names(folder) if folder.is_dir() else []
    return {scan_id(name) for name in names if name.endswith(SCAN_ENDINGS)}


def _choose(raw: Path, subjects: list[Path], structures: tuple[str, ...] | None) -> tuple[str, ...]:
    found = sorted(set().union(*map(_masks_of, subjects)))
    if not found and structures is None:
        raise DatasetError(
            f"no subject of {raw} has a mask segmentations/NAME.nii.gz", "Check the folder."
        )
    for name in structures or ():
        if name not in found:
            raise SettingsError(f"no subject of {raw} has {name!r}", nearest(name, found))
    for name in structures or found:
        if name != region_name(name):
            raise DatasetError(
                f"{raw}: the mask {name!r} is not written in lower case with underscores",
                f"Rename it to {region_name(name)!r}.",
            )
    if structures is None:
        logger.info("%d structures in alphabetical order are labels 1 to %d", *[len(found)] * 2)
    return structures or tuple(found)


def _read_case(subject: Path, kind: str, values: dict[str, int]) -> Case:
    channels = (Channel(either_ending(subject, kind)),)
    folder = subject / _MASKS
    if not folder.is_dir():
        return Case(subject.name, channels)
    there = _masks_of(subject)
    masks = tuple(
        (either_ending(folder, name).name, value) for name, value in values.items() if name in there
    )
    return Case(subject.name, channels, folder, masks)
