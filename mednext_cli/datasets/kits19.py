"""KiTS19: one folder a case, slices first in the arrays, tumours inside and on kidneys.

The affine nibabel gives is right for all cases, the nine label files with a qform only included;
nothing here corrects it.
"""

import re
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset, LabelSet
from mednext_cli.datasets.raw_folder import (
    check_folder,
    either_ending,
    list_names,
    sorted_unique,
)
from mednext_cli.foundation.errors import DatasetError

# The challenge scores the kidney with its tumour (Dice of labels above 0) and the tumour.
LABELS = LabelSet(
    names={"kidney": 1, "tumour": 2},
    regions={"kidney_and_tumour": (1, 2), "tumour": (2,)},
)
_CASE_FOLDER = re.compile(r"case_\d{5}")


class Kits19Layout:
    """case_00000/imaging.nii.gz with segmentation.nii.gz; test cases lack the latter."""

    description = "KiTS19: case_00000/imaging.nii.gz and segmentation.nii.gz; kidney, tumour"
    label_set: LabelSet | None = LABELS

    def recognises(self, raw: Path) -> bool:
        """Whether there are case folders, here or in data/."""
        return bool(_case_folders(raw) or _case_folders(raw / "data"))

    def read(self, raw: Path) -> Dataset:
        """List the case folders in `raw` or, as in a clone of the challenge, in ``raw/data``.

        Raises:
            DatasetError: there are none, or a scan is there as .nii and as .nii.gz.
        """
        check_folder(raw)
        folders = _case_folders(raw) or _case_folders(raw / "data")
        if not folders:
            raise DatasetError(
                f"{raw} holds no case_00000/imaging.nii.gz, neither itself nor in data/",
                "Check the folder and --dataset.",
            )
        cases = sorted_unique(map(_read_case, folders), raw)
        return Dataset("kits19", "kits19", ("CT",), LABELS, cases)


LAYOUT = Kits19Layout()


def _case_folders(raw: Path) -> list[Path]:
    if not raw.is_dir():
        return []
    return [raw / name for name in list_names(raw) if _CASE_FOLDER.fullmatch(name)]


def _read_case(folder: Path) -> Case:
    label = either_ending(folder, "segmentation")
    image = either_ending(folder, "imaging")
    return Case(folder.name, (Channel(image),), label if label.exists() else None)
