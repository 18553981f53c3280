"""Two folders, one of images and one of labels, about which little else is known.

What label values and channels are called is said by a dataset.json beside them or by ``--labels``.
Without, the label maps are read for their values, which are called ``label_1`` and so on.
"""

import logging
from pathlib import Path

import numpy as np

from mednext_cli.datasets.dataset import Dataset
from mednext_cli.datasets.folder_cases import channels_per_case, match_cases, scans_in
from mednext_cli.datasets.label_table import channel_names, labels_of
from mednext_cli.datasets.options import Modality
from mednext_cli.datasets.raw_folder import (
    OtherLayoutError,
    check_folder,
    folder_name,
    is_folder,
    read_description,
    require,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.progress import track
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.scans import read_label_map

logger = logging.getLogger(__name__)
_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"), ("image", "label"), ("img", "label"))
_NAMES: dict[Modality, str] = {"ct": "CT", "mr": "MR"}


class FolderLayout:
    """images/CASE.nii.gz with labels/CASE.nii.gz; an image may be the folder of a DICOM series."""

    description = "Two folders: images/CASE.nii.gz (or .nrrd, .mha, a DICOM series), labels/"
    label_set: LabelSet | None = None
    options = ("modality", "labels")

    def recognises(self, raw: Path) -> bool:
        """Whether there is a pair of folders, and no dataset.json that another layout reads."""
        pair = _find_pair(raw)
        if pair is None or not (raw / "dataset.json").is_file():
            return pair is not None
        return pair[0].name != "imagesTr" and "labels" in read_description(raw)

    def read(
        self, raw: Path, modality: Modality | None = None, labels: LabelSet | None = None
    ) -> Dataset:
        """List the images and labels of equal names.

        ``CASE_0000``, ``CASE_0001`` beside a label ``CASE`` are its channels, as in nnU-Net.

        Args:
            raw: the raw folder.
            modality: ct normalises the images as CT; None and mr each by itself, or as dataset.json
                says.
            labels: what label values are called; None takes those of dataset.json or, without one,
                the values in the label maps, which are all read.

        Raises:
            DatasetError: no such folders or no label maps, labels that are not named like images,
                one scan under two endings, or cases of different numbers of channels.
                SettingsError: modality all.
        """
        if modality == "all":
            raise SettingsError("--modality all says nothing about a folder", "Give ct or mr.")
        check_folder(raw)
        pair = _find_pair(raw)
        if pair is None:
            raise OtherLayoutError(
                f"{raw} holds no folders images and labels", "Rename yours so, or link them."
            )
        images, maps = (scans_in(folder) for folder in pair)
        cases = match_cases(images, maps, *pair)
        count = channels_per_case(pair[0], cases)
        known = labels or _described_labels(raw) or _found_labels(list(maps.values()))
        channels = _channels(raw, modality, count)
        return Dataset(folder_name(raw), "folder", channels, known, sorted_unique(cases, raw))


LAYOUT = FolderLayout()


def _find_pair(raw: Path) -> tuple[Path, Path] | None:
    for images, labels in _PAIRS:
        if is_folder(raw / images) and is_folder(raw / labels):
            return raw / images, raw / labels
    return None


def _described_labels(raw: Path) -> LabelSet | None:
    """The labels of a dataset.json, where there is one and it names them."""
    where = raw / "dataset.json"
    description = read_description(raw) if where.is_file() else {}
    if "labels" not in description:
        return None
    order = description.get("regions_class_order")
    return labels_of(require(description, "labels", dict, where), order, where)


def _channels(raw: Path, modality: Modality | None, count: int) -> tuple[str, ...]:
    """Names of the channels: as the user says, as dataset.json says, or none that mean anything."""
    if modality == "ct":
        return ("CT",) * count
    where = raw / "dataset.json"
    description = read_description(raw) if modality is None and where.is_file() else {}
    for key in ("channel_names", "modality"):
        if key in description:
            names = channel_names(description[key], where)
            if len(names) == count:
                return names
            raise DatasetError(
                f"{where} names {len(names)} channels, the cases have {count}",
                f"Correct {key!r} there: one name a channel.",
            )
    first = _NAMES.get(modality or "all", "image")
    return (first,) if count == 1 else tuple(f"{first}_{index}" for index in range(count))


def _found_labels(paths: list[Path]) -> LabelSet:
    """The values in the label maps; a map that cannot be read fails with its case, later."""
    values: set[int] = set()
    unread: list[str] = []
    with track("reading labels", len(paths)) as bar:
        for path in paths:
            try:
                values |= set(np.unique(read_label_map(path).array).tolist())
            except Exception as error:
                logger.debug("%s", path, exc_info=error)
                unread.append(f"{error}")
            bar.advance(note=path.name)
    inner = sorted(values - {0})
    if unread and not inner:
        raise DatasetError(f"{len(unread)} of {len(paths)} label maps fail: {unread[0]}")
    if not inner:
        raise DatasetError("no label map has any foreground", "Check the folder of labels.")
    names = {f"label_{value}": value for value in inner}
    return LabelSet(names, {name: (value,) for name, value in names.items()})
