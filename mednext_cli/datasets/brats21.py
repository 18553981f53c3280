"""BraTS 2021 and before: four MR sequences of one head, tumour labels 1, 2 and 4.

Source: Synapse syn25829067. Label 4 is the third class while training and 4 again in what
`mednext predict` writes. The sequences come in the order of nnU-Net's conversion.
"""

import re
from dataclasses import replace
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset, LabelSet
from mednext_cli.datasets.raw_folder import check_folder, either_ending, list_names, sorted_unique
from mednext_cli.foundation.errors import DatasetError

LABELS = LabelSet(
    names={"necrosis": 1, "oedema": 2, "enhancing_tumour": 4},
    regions={"whole_tumour": (1, 2, 4), "tumour_core": (1, 4), "enhancing_tumour": (4,)},
)
# What is in a region but in none of those after it: later regions are written over earlier ones.
_REGION_VALUES = (2, 1, 4)
_SEQUENCES = ("t1", "t1ce", "t2", "flair")
_CASE_FOLDER = re.compile(r"BraTS\d*_.+", re.IGNORECASE)


class Brats21Layout:
    """BraTS2021_00000/BraTS2021_00000_{flair,t1,t1ce,t2,seg}.nii.gz, one folder a case."""

    description = "BraTS21: BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair,seg}.nii.gz"
    label_set: LabelSet | None = LABELS
    options = ("region_training",)

    def recognises(self, raw: Path) -> bool:
        """Whether there are case folders that hold at least one sequence under their own name."""
        return any(_has_sequence(folder) for folder in _case_folders(raw))

    def read(self, raw: Path, region_training: bool = False) -> Dataset:
        """List the case folders in `raw`; those without a segmentation are test cases.

        Args:
            raw: the raw folder.
            region_training: networks predict the three nested regions (sigmoid) instead of the
                three labels (softmax, as MedNeXt was trained).

        Raises:
            DatasetError: there are none, or a scan is there as .nii and as .nii.gz.
        """
        check_folder(raw)
        folders = [folder for folder in _case_folders(raw) if _has_sequence(folder)]
        if not folders:
            raise DatasetError(
                f"{raw} holds no BraTS2021_00000/BraTS2021_00000_t1.nii.gz",
                "Check the folder and --dataset.",
            )
        labels = LABELS
        if region_training:
            labels = replace(LABELS, region_training=True, region_values=_REGION_VALUES)
        cases = sorted_unique(map(_read_case, folders), raw)
        channels = tuple(name.upper() for name in _SEQUENCES)
        return Dataset("brats21", "brats21", channels, labels, cases)


LAYOUT = Brats21Layout()


def _case_folders(raw: Path) -> list[Path]:
    names = list_names(raw) if raw.is_dir() else []
    folders = [raw / name for name in names if _CASE_FOLDER.fullmatch(name)]
    return [folder for folder in folders if folder.is_dir()]


def _has_sequence(folder: Path) -> bool:
    return any(_file(folder, sequence).exists() for sequence in _SEQUENCES)


def _file(folder: Path, what: str) -> Path:
    return either_ending(folder, f"{folder.name}_{what}")


def _read_case(folder: Path) -> Case:
    label = _file(folder, "seg")
    channels = tuple(Channel(_file(folder, sequence)) for sequence in _SEQUENCES)
    return Case(folder.name, channels, label if label.exists() else None)
