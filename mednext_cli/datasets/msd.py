"""Medical Segmentation Decathlon: a dataset.json that lists images and labels.

Several modalities (Task01, Task05) are volumes along the fourth axis of one file.
"""

from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case, Dataset
from mednext_cli.datasets.label_table import channel_names, labels_of
from mednext_cli.datasets.names import is_hidden
from mednext_cli.datasets.raw_folder import (
    as_on_disk,
    channels_of,
    check_folder,
    folder_name,
    inside,
    note_hidden,
    read_description,
    require,
    scan_id,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.settings.labels import LabelSet

# Surface Dice tolerance of each task, mm. As the challenge is remembered to have set them; no
# source for them could be retrieved, so they are a default to override, not a fact.
TOLERANCE_MM = {
    "Task01_BrainTumour": 5.0,
    "Task02_Heart": 4.0,
    "Task03_Liver": 7.0,
    "Task04_Hippocampus": 1.0,
    "Task05_Prostate": 4.0,
    "Task06_Lung": 2.0,
    "Task07_Pancreas": 5.0,
    "Task08_HepaticVessel": 3.0,
    "Task09_Spleen": 3.0,
    "Task10_Colon": 4.0,
}


class MsdLayout:
    """TaskXX_Name/dataset.json with imagesTr, labelsTr and imagesTs."""

    description = "Medical Segmentation Decathlon: dataset.json, imagesTr, labelsTr, imagesTs"
    label_set: LabelSet | None = None

    def recognises(self, raw: Path) -> bool:
        """Whether a dataset.json lists training images that are there under their own names."""
        try:
            description = read_description(raw)
            entries = _entries(description, "training", raw / "dataset.json")
            return any(_image(raw, entry).exists() for entry in entries)
        except DatasetError:
            return False

    def read(self, raw: Path) -> Dataset:
        """List the cases that dataset.json names; its counts are not trusted.

        Raises:
            DatasetError: no dataset.json, or one with missing keys, duplicates, or paths that
                leave the folder.
        """
        check_folder(raw)
        where = raw / "dataset.json"
        description = read_description(raw)
        table = require(description, "labels", dict, where)
        order = description.get("regions_class_order")
        labels = labels_of(table, order, where, TOLERANCE_MM.get(folder_name(raw)))
        channels = channel_names(require(description, "modality", dict, where), where)
        cases = _cases(raw, description, len(channels))
        _check_images(raw, cases)
        return Dataset(folder_name(raw), "msd", channels, labels, cases)


LAYOUT = MsdLayout()


def _cases(raw: Path, description: dict[str, Any], channels: int) -> tuple[Case, ...]:
    where = raw / "dataset.json"
    cases, hidden = [], []
    require(description, "training", list, where)
    for key in ("training", "test"):
        for entry in _entries(description, key, where):
            image = _image(raw, entry)
            if is_hidden(image.name):
                hidden.append(image.name)
                continue
            label = _label(raw, entry, image) if key == "training" else None
            cases.append(Case(scan_id(image.name), channels_of(image, channels), label))
    note_hidden(where, hidden)
    return sorted_unique(cases, raw)


def _entries(description: dict[str, Any], key: str, where: Path) -> list[Any]:
    """The list under `key`; a missing one is empty (there are sets without test images)."""
    return list(require({key: [], **description}, key, list, where))


def _image(raw: Path, entry: object) -> Path:
    """The image of an entry, which is its path or an object that holds it."""
    return inside(raw, entry.get("image") if isinstance(entry, dict) else entry, _where(raw))


def _label(raw: Path, entry: object, image: Path) -> Path:
    """The label of a training entry; a bare path has it under the same name in labelsTr."""
    if isinstance(entry, dict):
        return inside(raw, entry.get("label"), _where(raw))
    return as_on_disk(raw, f"labelsTr/{image.name}")


def _where(raw: Path) -> Path:
    return raw / "dataset.json"


def _check_images(raw: Path, cases: tuple[Case, ...]) -> None:
    """One missing scan is that case's fault; all of them missing is the wrong folder."""
    if any(case.channels[0].path.exists() for case in cases):
        return
    raise DatasetError(
        f"none of the {len(cases)} images that {_where(raw)} lists exists",
        f"Check the folder; the first would be {cases[0].channels[0].path}.",
    )
