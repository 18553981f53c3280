"""Whether a label map lies on its image's grid, judged by where voxels land; and the way out."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from tests.datasets.conftest import write_scan

Captured = pytest.CaptureFixture[str]
LABEL = np.zeros((20, 18, 16), np.uint8)
LABEL[4:10, 5:12, 3:12] = 1
NOISE = np.random.default_rng(0).normal(100, 20, LABEL.shape).astype(np.int16)
AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])


def make(
    raw: Path, affine: np.ndarray, label_affine: np.ndarray, label: np.ndarray = LABEL
) -> Path:
    write_scan(raw / "images" / "a.nii.gz", NOISE, affine)
    write_scan(raw / "labels" / "a.nii.gz", label, label_affine)
    return raw


def preprocess(raw: Path, *options: str) -> int:
    always = ["--dataset", "folder", "--workers", "0", "--spacing", "median"]
    return main(["preprocess", str(raw), *always, "--cache", str(raw.parent / "cache"), *options])


def verify(raw: Path) -> int:
    return main(["datasets", "verify", str(raw), "--dataset", "folder", "--workers", "0", "-q"])


def moved(affine: np.ndarray, millimetres: float) -> np.ndarray:
    other = affine.copy()
    other[0, 3] += millimetres
    return other


def scaled(affine: np.ndarray, factor: float) -> np.ndarray:
    return affine @ np.diag([factor, 1, 1, 1])


SMALL = AFFINE / [[100], [100], [100], [1]]
FLIP = np.diag([-1.0, 1, 1, 1])
FLIP[0, 3] = LABEL.shape[0] - 1


@pytest.mark.parametrize(
    ("affine", "other", "voxels"),
    [
        (AFFINE, moved(AFFINE, 0.005), None),
        (AFFINE, moved(AFFINE, 0.09), None),
        (AFFINE, moved(AFFINE, 0.5), "0.5 voxels (0.5 mm)"),
        (SMALL, scaled(SMALL, 1.1), "1.95 voxels (0.0195 mm)"),
        (SMALL, moved(SMALL, 0.0005), None),
        (AFFINE * [[10], [10], [10], [1]], moved(AFFINE * [[10], [10], [10], [1]], 0.5), None),
        (AFFINE, moved(AFFINE, 0.05) @ FLIP, None),
        (AFFINE, moved(AFFINE, 3) @ FLIP, "3 voxels (3 mm)"),
    ],
)
def test_one_grid(
    tmp_path: Path, affine: np.ndarray, other: np.ndarray, voxels: str | None, capsys: Captured
) -> None:
    raw = make(tmp_path / "raw", affine, other)
    expected = 0 if voxels is None else 2
    assert verify(raw) == expected
    assert f"its corners lie up to {voxels} away" in capsys.readouterr().out or voxels is None
    assert preprocess(raw) == expected
    said = capsys.readouterr().err
    assert f"its corners lie up to {voxels} away" in said or voxels is None
    assert ("add --resample-labels" in said) == (voxels is not None)


def test_one_slice_of_another_thickness_is_another_grid(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_scan(raw / "images" / "a.nii.gz", NOISE[:, :, :1], AFFINE)
    write_scan(raw / "labels" / "a.nii.gz", LABEL[:, :, 3:4], AFFINE @ np.diag([1, 1, 4.0, 1]))
    assert verify(raw) == 2


def test_labels_are_resampled_where_that_is_asked_for(tmp_path: Path, capsys: Captured) -> None:
    """Every second voxel of the label map along x, and in another order."""
    half = LABEL[::2].transpose(2, 0, 1)
    other = (AFFINE @ np.diag([2.0, 1, 1, 1]))[:, [2, 0, 1, 3]]
    other[0, 3] += 0.25  # so that no voxel is half-way between two
    raw = make(tmp_path / "raw", AFFINE, other, half)
    assert preprocess(raw) == 2
    assert preprocess(raw, "--resample-labels") == 0
    said = capsys.readouterr().err
    assert (
        "a.nii.gz: resampled onto the image's grid (nearest voxel): its shape is 16 x 10 x 18"
        in said
    )
    cached = open_cache(tmp_path / "cache" / "raw")
    expected = np.repeat(LABEL[::2], 2, axis=0)
    assert np.array_equal(cached.case("a").read_label(), expected.transpose(2, 1, 0))
    description = json.loads((tmp_path / "cache" / "raw" / "dataset.json").read_text())
    assert description["cases"]["a"]["label_resampled"] is True


def test_what_was_resampled_is_not_kept_without_the_option(
    tmp_path: Path, capsys: Captured
) -> None:
    raw = make(tmp_path / "raw", AFFINE, moved(AFFINE, 3))
    for name in ("images", "labels"):
        write_scan(raw / name / "b.nii.gz", NOISE if name == "images" else LABEL, AFFINE)
    for options, made, kept in ((["--resample-labels"], 2, 0), (["--resample-labels"], 0, 2)):
        assert preprocess(raw, *options) == 0
        assert f"cases made\t{made}\ncases kept\t{kept}" in capsys.readouterr().out
    assert preprocess(raw) == 2
    assert open_cache(tmp_path / "cache" / "raw").case_ids == ("b",)
    assert preprocess(raw, "--resample-labels") == 0
    assert "cases made\t1\ncases kept\t1" in capsys.readouterr().out
    write_scan(raw / "labels" / "a.nii.gz", LABEL, AFFINE)  # corrected: made anew, not recalled
    assert preprocess(raw) == 0
    assert "cases made\t1\ncases kept\t1" in capsys.readouterr().out


def test_labels_that_lie_beside_the_image_are_no_empty_ones(
    tmp_path: Path, capsys: Captured
) -> None:
    raw = make(tmp_path / "raw", AFFINE, moved(AFFINE, 500))
    assert preprocess(raw, "--resample-labels") == 2
    assert "has no label where the image lies" in capsys.readouterr().err


def test_evaluate_judges_by_the_same_measure(tmp_path: Path, capsys: Captured) -> None:
    write_scan(tmp_path / "labels" / "a.nii.gz", LABEL, AFFINE)
    write_scan(tmp_path / "near" / "a.nii.gz", LABEL, moved(AFFINE, 0.05))
    write_scan(tmp_path / "far" / "a.nii.gz", LABEL, moved(AFFINE, 1))
    for name, code in (("near", 0), ("far", 2)):
        call = ["evaluate", str(tmp_path / name), str(tmp_path / "labels"), "--workers", "0"]
        assert main([*call, "--out", str(tmp_path / f"{name} scores")]) == code
    assert "its corners lie up to 1 voxels (1 mm) away" in capsys.readouterr().err


def test_the_file_s_own_unit_is_used_on_both_sides(tmp_path: Path) -> None:
    """A prediction in microns and a reference in metres, of one grid in millimetres; resampled."""
    for name, unit, factor in (("predictions", "micron", 1e3), ("labels", "meter", 1e-3)):
        image = nibabel.Nifti1Image(LABEL, np.diag([factor, factor, factor, 1]) @ AFFINE)
        image.header.set_xyzt_units(unit)
        (tmp_path / name).mkdir()
        nibabel.save(image, tmp_path / name / "a.nii.gz")
    call = ["evaluate", str(tmp_path / "predictions"), str(tmp_path / "labels"), "--workers", "0"]
    assert main([*call, "--out", str(tmp_path / "scores")]) == 0
    half = nibabel.Nifti1Image(LABEL[::2, ::2, ::2], np.diag([2e3, 2e3, 2e3, 1]) @ AFFINE)
    half.header.set_xyzt_units("micron")
    nibabel.save(half, tmp_path / "predictions" / "a.nii.gz")
    assert main([*call, "--out", str(tmp_path / "scores"), "--resample"]) == 0
    row = (tmp_path / "scores" / "cases.csv").read_text().splitlines()
    dice = float(row[1].split(",")[row[0].split(",").index("dice")])
    assert 0.7 < dice < 1
