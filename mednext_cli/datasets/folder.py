"""Two folders, one of images and one of labels, about which nothing else is known.

Which label values there are is found by reading the label maps; they are called ``label_1`` and so
on. Arrange data as nnU-Net v2 does to give them names.
"""

import logging
import re
from pathlib import Path

import numpy as np

from mednext_cli.datasets.dataset import Case, Channel, Dataset, LabelSet
from mednext_cli.datasets.options import Modality
from mednext_cli.datasets.raw_folder import (
    check_folder,
    folder_name,
    list_names,
    scan_id,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError, ScanError, SettingsError
from mednext_cli.foundation.progress import track
from mednext_cli.volumes.dicom import is_series
from mednext_cli.volumes.scans import SCAN_ENDINGS, read_label_map

logger = logging.getLogger(__name__)
_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"), ("image", "label"), ("img", "label"))
_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")
_NAMES: dict[Modality, str] = {"ct": "CT", "mr": "MR"}


class FolderLayout:
    """images/CASE.nii.gz with labels/CASE.nii.gz; an image may be the folder of a DICOM series."""

    description = "Two folders: images/CASE.nii.gz (or .nrrd, .mha, a DICOM series), labels/"
    label_set: LabelSet | None = None
    options = ("modality",)

    def recognises(self, raw: Path) -> bool:
        """Whether there is a pair of folders, and no dataset.json that knows more."""
        return _find_pair(raw) is not None and not (raw / "dataset.json").is_file()

    def read(self, raw: Path, modality: Modality | None = None) -> Dataset:
        """List the images and labels of equal names; reads every label map for its values.

        ``CASE_0000``, ``CASE_0001`` beside a label ``CASE`` are its channels, as in nnU-Net.

        Args:
            raw: the raw folder.
            modality: ct normalises the images as CT; None and mr each by itself.

        Raises:
            DatasetError: no such folders or no label maps, one scan under two endings, or cases of
                different numbers of channels. SettingsError: modality all.
        """
        if modality == "all":
            raise SettingsError("--modality all says nothing about a folder", "Give ct or mr.")
        check_folder(raw)
        pair = _find_pair(raw)
        if pair is None:
            raise DatasetError(
                f"{raw} holds no folders images and labels", "Rename yours so, or link them."
            )
        images, labels = (_scans_in(folder) for folder in pair)
        cases = _match(images, labels)
        count = _count_channels(pair[0], cases)
        first = _NAMES.get(modality or "all", "image")
        channels = (first,) if count == 1 else tuple(f"{first}_{index}" for index in range(count))
        if modality == "ct":
            channels = ("CT",) * count
        found = _label_set(list(labels.values()))
        return Dataset(folder_name(raw), "folder", channels, found, sorted_unique(cases, raw))


LAYOUT = FolderLayout()


def _find_pair(raw: Path) -> tuple[Path, Path] | None:
    for images, labels in _PAIRS:
        if (raw / images).is_dir() and (raw / labels).is_dir():
            return raw / images, raw / labels
    return None


def _scans_in(folder: Path) -> dict[str, Path]:
    """Scan files and folders of a DICOM series, by name without ending."""
    found: dict[str, Path] = {}
    for name in list_names(folder):
        path = folder / name
        if not (name.endswith(SCAN_ENDINGS) or is_series(path)):
            continue
        if scan_id(name) in found:
            raise DatasetError(
                f"duplicate case: {found[scan_id(name)]} and {path} are the same scan by name",
                "Remove one.",
            )
        found[scan_id(name)] = path
    return found


def _match(images: dict[str, Path], labels: dict[str, Path]) -> list[Case]:
    """Cases by name; a label without an image keeps the path it would have, which is reported."""
    channels: dict[str, dict[int, Path]] = {}
    for name, path in images.items():
        numbered = _CHANNEL.fullmatch(name)
        if numbered and name not in labels and numbered["id"] in labels:
            if numbered["id"] in images:
                raise DatasetError(
                    f"{images[numbered['id']]} and {path} are both images of {numbered['id']}",
                    "Keep one of them, or name all CASE_0000, CASE_0001, ...",
                )
            channels.setdefault(numbered["id"], {})[int(numbered["channel"])] = path
        else:
            channels.setdefault(name, {})[0] = path
    if not channels:
        raise DatasetError("the folder of images holds no scans", "Check it.")
    nowhere = next(iter(images.values())).parent
    for name in labels:
        channels.setdefault(name, {0: nowhere / f"{name}{SCAN_ENDINGS[0]}"})
    return [
        Case(name, tuple(Channel(files[number]) for number in sorted(files)), labels.get(name))
        for name, files in sorted(channels.items())
    ]


def _count_channels(folder: Path, cases: list[Case]) -> int:
    """How many channels every case has; the same ones, or T1 would be learnt as T2."""
    count, numbers = len(cases[0].channels), _numbers(cases[0])
    for case in cases:
        if len(case.channels) != count:
            found = f"{case.id} has {len(case.channels)} channels, {cases[0].id} {count}"
        elif count > 1 and _numbers(case) != numbers:
            found = f"{case.id} has the channels {', '.join(_numbers(case))}, "
            found += f"{cases[0].id} {', '.join(numbers)}"
        else:
            continue
        raise DatasetError(
            f"{folder}: {found}", "Give every case all channels: CASE_0000, CASE_0001, ..."
        )
    return count


def _numbers(case: Case) -> list[str]:
    """Of the channels, as their file names write them."""
    return [scan_id(channel.path.name)[-4:] for channel in case.channels]


def _label_set(paths: list[Path]) -> LabelSet:
    values: set[int] = set()
    unread: list[ScanError] = []
    with track("reading labels", len(paths)) as bar:
        for path in paths:
            try:
                values |= set(np.unique(read_label_map(path).array).tolist())
            except ScanError as error:  # that case's fault, and reported with it
                unread.append(error)
            bar.advance(note=path.name)
    inner = sorted(values - {0})
    if unread and not inner:
        raise DatasetError(f"{len(unread)} of {len(paths)} label maps fail: {unread[0]}")
    if not inner:
        raise DatasetError("no label map has any foreground", "Check the folder of labels.")
    names = {f"label_{value}": value for value in inner}
    return LabelSet(names, {name: (value,) for name, value in names.items()})
