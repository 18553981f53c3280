"""KiTS19: one folder a case, slices first in the arrays, tumours inside and on kidneys.

The affine nibabel gives is right for all cases, the nine label files with a qform only included;
nothing here corrects it.
"""

from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset
from mednext_cli.datasets.kits21 import case_folders, looks_like_kits21
from mednext_cli.datasets.raw_folder import (
    CHECK,
    OtherLayoutError,
    Scans,
    check_folder,
    sorted_unique,
)
from mednext_cli.settings.labels import LabelSet

# The challenge scores the kidney with its tumour (Dice of labels above 0) and the tumour.
LABELS = LabelSet(
    names={"kidney": 1, "tumour": 2},
    regions={"kidney_and_tumour": (1, 2), "tumour": (2,)},
    strangers={3: "In KiTS23 label 3 is a cyst: give --dataset kits23."},
)


class Kits19Layout:
    """case_00000/imaging.nii.gz with segmentation.nii.gz; test cases lack the latter."""

    description = "KiTS19: case_00000/imaging.nii.gz and segmentation.nii.gz; kidney, tumour"
    label_set: LabelSet | None = LABELS

    def recognises(self, raw: Path) -> bool:
        """Whether there are case folders, here or in data/, and none of a later challenge."""
        return bool(_case_folders(raw)) and not looks_like_kits21(raw)

    def read(self, raw: Path) -> Dataset:
        """List the case folders in `raw` or, as in a clone of the challenge, in ``raw/data``.

        Raises:
            DatasetError: there are none, they are of KiTS21, or a scan is there under two endings.
        """
        check_folder(raw)
        folders = _case_folders(raw)
        if not folders:
            raise OtherLayoutError(
                f"{raw} holds no case_00000/imaging.nii.gz, neither itself nor in data/", CHECK
            )
        if looks_like_kits21(raw):
            raise OtherLayoutError(
                f"{raw} is KiTS21: aggregated_MAJ_seg.nii.gz is there, segmentation.nii.gz is not",
                CHECK,
            )
        cases = sorted_unique(map(_read_case, folders), raw)
        return Dataset("kits19", "kits19", ("CT",), LABELS, cases)


LAYOUT = Kits19Layout()


def _case_folders(raw: Path) -> list[Path]:
    return case_folders(raw) or case_folders(raw / "data")


def _read_case(folder: Path) -> Case:
    scans = Scans(folder, forgiving=True)
    label = scans.path("segmentation") if "segmentation" in scans else None
    return Case(folder.name, (Channel(scans.path("imaging")),), label)
