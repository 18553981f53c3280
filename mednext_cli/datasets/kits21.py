"""KiTS21 and KiTS23: KiTS19's cases and more, with cysts; one folder a case.

KiTS21 has every structure annotated by several people and brings three label maps made of them;
the challenge scored against the majority vote, ``aggregated_MAJ_seg``, which is taken here. KiTS23
brings one, ``segmentation``. Regions and tolerances: ``configuration/labels.py`` of both.
"""

import re
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset
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
    names={"kidney": 1, "tumour": 2, "cyst": 3},
    regions={"kidney_and_masses": (1, 2, 3), "masses": (2, 3), "tumour": (2,)},
    tolerance_mm={
        "kidney_and_masses": 1.0330772532390826,
        "masses": 1.1328796488598762,
        "tumour": 1.1498198361434828,
    },
)
_MAJORITY, _ONE = "aggregated_MAJ_seg", "segmentation"
_CASE_FOLDER = re.compile(r"case_\d{5}")
_IMAGE = "imaging"
_ROOTS = (".", "data", "kits21/data", "dataset")


class KitsLayout:
    """case_00000/imaging.nii.gz with a label map; test cases lack the latter.

    Args:
        name: of the layout.
        label: the label map of a case, without ending.
    """

    label_set: LabelSet | None = LABELS

    def __init__(self, name: str, label: str) -> None:
        self.name = name
        self.label = label
        self.description = (
            f"{name.replace('kits', 'KiTS')}: case_00000/imaging.nii.gz and {label}.nii.gz; "
            "kidney, tumour, cyst"
        )

    def recognises(self, raw: Path) -> bool:
        """Whether there are case folders of this challenge, here or where its clone has them."""
        return bool(_find_folders(raw)) and looks_like_kits21(raw) == (self.label == _MAJORITY)

    def read(self, raw: Path) -> Dataset:
        """List the case folders in `raw` or, as in a clone of the challenge, below it.

        Raises:
            DatasetError: there are none, none has a label map of this challenge though the other
                challenge's are there, or a scan is there under two endings.
        """
        check_folder(raw)
        folders = _find_folders(raw)
        if not folders:
            raise OtherLayoutError(
                f"{raw} holds no case_00000/imaging.nii.gz, neither itself nor in "
                f"{', '.join(_ROOTS[1:])}",
                CHECK,
            )
        cases = sorted_unique((_read_case(folder, self.label) for folder in folders), raw)
        other = _ONE if self.label == _MAJORITY else _MAJORITY
        if all(case.label is None for case in cases) and _any_holds(folders, other):
            raise OtherLayoutError(
                f"{raw} holds {other}.nii.gz and no {self.label}.nii.gz: it is not {self.name}",
                CHECK,
            )
        return Dataset(self.name, self.name, ("CT",), LABELS, cases)


KITS21 = KitsLayout("kits21", _MAJORITY)
KITS23 = KitsLayout("kits23", _ONE)


def case_folders(raw: Path) -> list[Path]:
    """Folders in `raw` that are named like a case."""
    names = list_names(raw) if is_folder(raw) else []
    return [raw / name for name in names if _CASE_FOLDER.fullmatch(name)]


def looks_like_kits21(raw: Path) -> bool:
    """Whether case folders hold the majority vote and none the one label map of other years."""
    folders = _find_folders(raw)
    return _any_holds(folders, _MAJORITY) and not _any_holds(folders, _ONE)


def _find_folders(raw: Path) -> list[Path]:
    return next(filter(None, (case_folders(raw / root) for root in _ROOTS)), [])


def _any_holds(folders: list[Path], stem: str) -> bool:
    return any(
        stem in scans and not scans.closed
        for scans in (Scans(folder, forgiving=True) for folder in folders)
    )


def _read_case(folder: Path, label: str) -> Case:
    scans = Scans(folder, forgiving=True)
    there = scans.path(label) if label in scans else None
    return Case(folder.name, (Channel(scans.path(_IMAGE)),), there)
