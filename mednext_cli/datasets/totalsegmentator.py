"""TotalSegmentator: one folder a subject, one binary mask a structure.

Source: Zenodo, TotalSegmentator CT (v1 104, v2 117 structures) and MRI. As in its own
``combine_labels``, structures are numbered from 1 in the order they are named, a later mask is
written over an earlier one, and a mask that is missing is empty.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset
from mednext_cli.datasets.names import composed
from mednext_cli.datasets.raw_folder import (
    CHECK,
    OtherLayoutError,
    Scans,
    check_folder,
    is_folder,
    list_names,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError, SettingsError, nearest
from mednext_cli.settings.labels import LabelSet, region_name

logger = logging.getLogger(__name__)
_SCANS = {"ct": "CT", "mri": "MR"}
_MASKS = "segmentations"
_NAME = re.compile(r"s\d{4,}")


class TotalSegmentatorLayout:
    """s0000/ct.nii.gz or mri.nii.gz, with segmentations/NAME.nii.gz, one file a structure."""

    description = "TotalSegmentator: s0000/ct.nii.gz or mri.nii.gz, segmentations/NAME.nii.gz"
    label_set: LabelSet | None = None
    options = ("structures",)

    def recognises(self, raw: Path) -> bool:
        """Whether a folder holds ct or mri beside a folder of masks."""
        return any(subject.masks is not None for subject in _subjects(raw))

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
        if not any(subject.kind for subject in subjects):
            raise OtherLayoutError(f"{raw} holds no s0000/ct.nii.gz or s0000/mri.nii.gz", CHECK)
        kinds = {subject.kind for subject in subjects} - {None}
        if len(kinds) > 1:
            raise DatasetError(
                f"{raw} holds both ct and mri scans", "Make two folders, one of each."
            )
        names = _choose(raw, subjects, structures)
        values = {name: value for value, name in enumerate(names, start=1)}
        labels = LabelSet(values, {name: (value,) for name, value in values.items()})
        kind = next(iter(kinds)) or ""
        cases = sorted_unique((_read_case(subject, kind, values) for subject in subjects), raw)
        return Dataset("totalsegmentator", "totalsegmentator", (_SCANS[kind],), labels, cases)


LAYOUT = TotalSegmentatorLayout()


@dataclass(frozen=True)
class _Subject:
    """A folder that holds a scan.

    Attributes:
        scans: in the folder.
        kind: "ct" or "mri"; None where the folder cannot be listed.
        masks: of its structures, None where it has none.
    """

    scans: Scans
    kind: str | None
    masks: Scans | None


def _subjects(raw: Path) -> list[_Subject]:
    names = list_names(raw) if is_folder(raw) else []
    return [
        subject for name in names if is_folder(raw / name) for subject in _subjects_in(raw / name)
    ]


def _subjects_in(folder: Path) -> list[_Subject]:
    """The subject in a folder; none, or one of each kind where it holds both."""
    scans = Scans(folder, forgiving=True)
    if scans.closed:
        return [_Subject(scans, None, None)] if _NAME.fullmatch(folder.name) else []
    there = is_folder(folder / _MASKS)
    masks = Scans(folder / _MASKS, forgiving=True) if there else None
    return [_Subject(scans, kind, masks) for kind in _SCANS if kind in scans]


def _choose(
    raw: Path, subjects: list[_Subject], structures: tuple[str, ...] | None
) -> tuple[str, ...]:
    found = sorted({name for subject in subjects for name in subject.masks or ()})
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


def _read_case(subject: _Subject, kind: str, values: dict[str, int]) -> Case:
    case_id = composed(subject.scans.folder.name)
    channels = (Channel(subject.scans.path(kind)),)
    if subject.masks is None:
        return Case(case_id, channels)
    masks = subject.masks
    files = tuple((masks.path(name).name, value) for name, value in values.items() if name in masks)
    return Case(case_id, channels, masks.folder, files)
