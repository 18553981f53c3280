import shutil
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.datasets.verify import VerifySpec, verify
from tests.datasets.conftest import describe_msd, write_label, write_scan

SHAPE = (4, 5, 6)


def _problem(raw: Path, case: str = "a") -> str:
    return verify(VerifySpec(raw, "msd", workers=0)).problems.get(case, "")


def test_good_folder(msd: Path) -> None:
    result = verify(VerifySpec(msd, "msd", workers=1))
    assert result.problems == {}
    check = result.checks[0]
    assert (check.case, check.labelled, check.shape) == ("a", True, SHAPE)
    assert check.spacing_mm == (1.0, 1.0, 1.0)
    assert check.label_values == (0, 1, 2)
    assert not result.checks[2].labelled


def test_whole_hippocampus_is_in_order(data_folder: Path) -> None:
    raw = data_folder / "Task04_Hippocampus"
    result = verify(VerifySpec(raw, "msd", workers=0))
    assert len(result.checks) == 221
    assert result.problems == {}


def test_problems_of_images(msd: Path) -> None:
    image = msd / "imagesTr" / "a.nii.gz"
    image.unlink()
    assert "does not exist" in _problem(msd)
    write_scan(image, np.full(SHAPE, 3.0, np.float32))
    assert "constant: every intensity is 3" in _problem(msd)
    broken = np.arange(120, dtype=np.float32).reshape(SHAPE)
    broken[0, 0, :2] = np.nan, np.inf
    write_scan(image, broken)
    assert "2 NaN or infinite" in _problem(msd)
    write_scan(image, np.full(SHAPE, np.nan, np.float32))
    assert "120 NaN" in _problem(msd)
    image.write_bytes(image.read_bytes()[:-20])
    assert "damaged" in _problem(msd)


def test_problems_of_labels(msd: Path) -> None:
    label = msd / "labelsTr" / "a.nii.gz"
    write_label(label, (1, 7))
    assert "values 7, which the dataset does not name" in _problem(msd)
    write_label(label, ())
    assert "no foreground" in _problem(msd)
    write_scan(label, np.ones((4, 5, 7), np.uint8))
    assert "its shape is 4 x 5 x 7, not 4 x 5 x 6" in _problem(msd)
    write_scan(label, np.ones(SHAPE, np.uint8), np.diag([1.0, 1.0, 1.05, 1.0]))
    assert "lie up to 0.275 voxels (0.275 mm) away" in _problem(msd)
    write_scan(label, np.full(SHAPE, 0.5, np.float32))
    assert "not a whole number" in _problem(msd)
    write_scan(label, np.ones(SHAPE, np.float32))
    assert _problem(msd) == ""


def test_all_problems_of_a_case_are_named(msd: Path) -> None:
    write_scan(msd / "imagesTr" / "a.nii.gz", np.zeros(SHAPE, np.float32))
    write_label(msd / "labelsTr" / "a.nii.gz", (9,))
    problem = _problem(msd)
    assert "constant" in problem
    assert "values 9" in problem


def test_missing_channel_of_a_4d_file(msd: Path) -> None:
    describe_msd(msd, modality={"0": "T1", "1": "T2"}, test=[])
    two = np.random.default_rng(0).normal(size=(*SHAPE, 2)).astype(np.float32)
    write_scan(msd / "imagesTr" / "a.nii.gz", two)
    write_scan(msd / "imagesTr" / "b.nii.gz", two[..., :1])
    problems = verify(VerifySpec(msd, "msd", workers=0)).problems
    assert list(problems) == ["b"]
    assert "b.nii.gz" in problems["b"]


def test_same_voxels_under_two_names(msd: Path) -> None:
    shutil.copy(msd / "imagesTr" / "a.nii.gz", msd / "imagesTs" / "c.nii.gz")
    problems = verify(VerifySpec(msd, "msd", workers=0)).problems
    assert problems == {"a": "has the same voxels as c", "c": "has the same voxels as a"}


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_is_written(msd: Path, workers: int) -> None:
    before = sorted(msd.rglob("*"))
    verify(VerifySpec(msd, "msd", workers))
    assert sorted(msd.rglob("*")) == before
