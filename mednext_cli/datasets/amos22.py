"""AMOS22: abdominal CT (task 1), with MR (task 2); 15 organs.

Source: Zenodo 7155725 and 7262581. Ids up to 0500 are CT, those above MR. What dataset.json calls
its one modality ("CT", with MR in it too) and its labels ("arota") is not looked at.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case, Channel, Dataset
from mednext_cli.datasets.names import is_hidden
from mednext_cli.datasets.options import Modality
from mednext_cli.datasets.raw_folder import (
    CHECK,
    OtherLayoutError,
    Scans,
    check_folder,
    inside,
    note_hidden,
    read_description,
    require,
    scan_id,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.settings.labels import LabelSet, labels_in_order

LABELS = labels_in_order(
    "spleen, right_kidney, left_kidney, gallbladder, oesophagus, liver, stomach, aorta, postcava, "
    "pancreas, right_adrenal_gland, left_adrenal_gland, duodenum, bladder, prostate_uterus"
)
# Images, labels where they were published, and the list of dataset.json.
_PARTS = (
    ("imagesTr", "labelsTr", "training"),
    ("imagesVa", "labelsVa", "validation"),
    ("imagesTs", None, "test"),
)
_ID = re.compile(r"amos_(\d{4})")
_LAST_CT = 500
_CHANNELS: dict[Modality, str] = {"ct": "CT", "mr": "MR", "all": "CT_or_MR"}


class Amos22Layout:
    """imagesTr/amos_0001.nii.gz with labelsTr, the same for Va, and imagesTs."""

    description = "AMOS22: imagesTr/amos_0001.nii.gz, labelsTr, imagesVa, labelsVa, imagesTs"
    label_set: LabelSet | None = LABELS
    options = ("modality",)

    def recognises(self, raw: Path) -> bool:
        """Whether there are images named as those of the challenge."""
        return bool(_numbers_in(raw / "imagesTr") or _numbers_in(raw / "imagesVa"))

    def read(self, raw: Path, modality: Modality = "all") -> Dataset:
        """List the files of the folders, and those that dataset.json names beside.

        Args:
            raw: the raw folder.
            modality: ct takes task 1, all takes task 2; mr the rest of it. CT alone is normalised
                as CT, with MR every image by itself.

        Raises:
            DatasetError: no cases of this modality, a scan under two endings, or a broken
                dataset.json.
        """
        check_folder(raw)
        if not self.recognises(raw):
            raise OtherLayoutError(f"{raw} holds no imagesTr/amos_0001.nii.gz", CHECK)
        cases = [case for case in _cases(raw) if modality in ("all", _modality(case.id))]
        if not cases:
            raise DatasetError(
                f"{raw} holds no {modality.upper()}: ids up to {_LAST_CT:04d} are CT, others MR",
                "Give another --modality.",
            )
        name = "amos22" if modality == "all" else f"amos22_{modality}"
        unique = sorted_unique(cases, raw)
        return Dataset(name, "amos22", (_CHANNELS[modality],), LABELS, unique)


LAYOUT = Amos22Layout()


def _modality(case_id: str) -> Modality:
    return "ct" if int(case_id.removeprefix("amos_")) <= _LAST_CT else "mr"


def _numbers_in(folder: Path) -> set[str]:
    return {name for name in Scans(folder) if _ID.fullmatch(name)}


def _cases(raw: Path) -> Iterator[Case]:
    description = read_description(raw) if (raw / "dataset.json").is_file() else {}
    for folder, labels_folder, key in _PARTS:
        images = Scans(raw / folder)
        labels = Scans(raw / labels_folder) if labels_folder else None
        if labels is not None and not labels.folder.is_dir():
            labels = None
        ids = {*images, *_listed(raw, description, key), *(labels or ())}
        for name in sorted(ids):
            if _ID.fullmatch(name):
                label = labels.path(name) if labels is not None else None
                yield Case(name, (Channel(images.path(name)),), label)


def _listed(raw: Path, description: dict[str, Any], key: str) -> Iterator[str]:
    """Ids of a list of dataset.json, whose entries are objects or plain paths."""
    where = raw / "dataset.json"
    hidden = []
    for entry in require({key: [], **description}, key, list, where):
        path = inside(raw, entry.get("image") if isinstance(entry, dict) else entry, where)
        if is_hidden(path.name):
            hidden.append(path.name)
            continue
        if _ID.fullmatch(scan_id(path.name)) is None:
            raise DatasetError(
                f"{where} names {path.name}, which is no amos_0001.nii.gz",
                "Take --dataset msd for a folder with other names.",
            )
        yield scan_id(path.name)
    note_hidden(where, hidden)
