"""BraTS 2021 and before: four MR sequences of one head, tumour labels 1, 2 and 4.

Source: Synapse syn25829067. Label 4 is the third class while training and 4 again in what
`mednext predict` writes. The sequences come in the order of nnU-Net's conversion.
"""

import re
from dataclasses import replace
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
from mednext_cli.settings.labels import LabelSet

LABELS = LabelSet(
    names={"necrosis": 1, "oedema": 2, "enhancing_tumour": 4},
    regions={"whole_tumour": (1, 2, 4), "tumour_core": (1, 4), "enhancing_tumour": (4,)},
    strangers={3: "From 2023 on label 3 is the enhancing tumour: give --dataset brats23."},
)


class BratsLayout:
    """CASE/CASE_t1.nii.gz and the like, one folder a case.

    Args:
        name: of the layout.
        example: name of a case.
        folders: pattern of the names of case folders.
        joint: between the case and what a file holds.
        sequences: endings of the channels, in their order.
        labels: of this edition.
        region_values: of each region what is in it but in none of those after it: later regions
            are written over earlier ones.
    """

    options = ("region_training",)

    def __init__(
        self,
        name: str,
        example: str,
        folders: str,
        joint: str,
        sequences: tuple[str, ...],
        labels: LabelSet,
        region_values: tuple[int, ...],
    ) -> None:
        self.name, self.example, self.joint = name, example, joint
        self.label_set: LabelSet | None = labels
        self._labels = labels
        self._region_values = region_values
        self._sequences = sequences
        self._folders = re.compile(folders, re.IGNORECASE)
        files = ",".join((*sequences, "seg"))
        edition = name.replace("brats", "BraTS")
        self.description = f"{edition}: {example}/{example}{joint}{{{files}}}.nii.gz"

    def recognises(self, raw: Path) -> bool:
        """Whether there are case folders that hold at least one sequence under their own name."""
        return bool(self._cases(raw))

    def read(self, raw: Path, region_training: bool = False) -> Dataset:
        """List the case folders in `raw`; those without a segmentation are test cases.

        Args:
            raw: the raw folder.
            region_training: networks predict the nested regions (sigmoid) instead of the labels
                (softmax, as MedNeXt was trained).

        Raises:
            DatasetError: there are none, or a scan is there under two endings.
        """
        check_folder(raw)
        cases = self._cases(raw)
        if not cases:
            first = f"{self.example}/{self.example}{self.joint}{self._sequences[0]}.nii.gz"
            raise OtherLayoutError(f"{raw} holds no {first}", CHECK)
        labels = self._labels
        if region_training:
            labels = replace(labels, region_training=True, region_values=self._region_values)
        channels = tuple(sequence.upper() for sequence in self._sequences)
        return Dataset(self.name, self.name, channels, labels, sorted_unique(cases, raw))

    def _cases(self, raw: Path) -> list[Case]:
        names = list_names(raw) if is_folder(raw) else []
        folders = [raw / name for name in names if self._folders.fullmatch(name)]
        read = (self._read(folder) for folder in folders if is_folder(folder))
        return [case for case in read if case is not None]

    def _read(self, folder: Path) -> Case | None:
        """The case of a folder; None where it holds no sequence."""
        scans, name = Scans(folder, forgiving=True), composed(folder.name)
        stems = [f"{name}{self.joint}{sequence}" for sequence in self._sequences]
        if not any(stem in scans for stem in stems):
            return None
        label = f"{name}{self.joint}seg"
        channels = tuple(Channel(scans.path(stem)) for stem in stems)
        return Case(name, channels, scans.path(label) if label in scans else None)


LAYOUT = BratsLayout(
    name="brats21",
    example="BraTS2021_00000",
    folders=r"BraTS\d*_.+",
    joint="_",
    sequences=("t1", "t1ce", "t2", "flair"),
    labels=LABELS,
    region_values=(2, 1, 4),
)
