"""A network that sees the same number everywhere learns nothing: such input is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.preprocessing.synthetic import (
    describe,
    image_of,
    label_of,
    make_raw,
    read,
    run,
    stored,
    write,
)

Captured = pytest.CaptureFixture[str]


def saturate(raw: Path, name: str, value: int) -> None:
    """Give all labelled voxels of a case one intensity."""
    image = read(image_of(raw, name))
    write(image_of(raw, name), np.where(read(label_of(raw, name)) > 0, value, image))


def test_ct_whose_labelled_voxels_have_one_value(tmp_path: Path, capsys: Captured) -> None:
    raw = make_raw(tmp_path, modality="CT")
    for number in range(3):
        saturate(raw, f"case_{number}", 3071)
    assert run(raw) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: Task90_Blobs, channel 0 (CT): nearly all labelled voxels have")
    assert "3071" in error
    assert stored(raw) == []
    describe(raw, modality={"0": "MRI"})
    assert run(raw) == 0


def test_one_channel_of_several(tmp_path: Path, capsys: Captured) -> None:
    raw = make_raw(tmp_path, modality="T1")
    describe(raw, modality={"0": "T1", "1": "CT"})
    for number in range(3):
        image, label = read(image_of(raw, f"case_{number}")), read(label_of(raw, f"case_{number}"))
        both = np.stack([image, np.where(label > 0, 3071, image)], axis=3)
        write(image_of(raw, f"case_{number}"), both)
    assert run(raw) == 2
    assert "channel 1 (CT)" in capsys.readouterr().err


def test_a_scan_that_is_clipped_to_one_value_fails_alone(tmp_path: Path, capsys: Captured) -> None:
    """A scan in other units than those of the other cases, without foreground."""
    raw = make_raw(tmp_path, 4, modality="CT")
    image = read(image_of(raw, "case_3")).astype(np.float32)
    write(image_of(raw, "case_3"), image * np.float32(1e-4) - 2000)
    write(label_of(raw, "case_3"), np.zeros(image.shape, np.uint8))
    assert run(raw) == 2
    said = capsys.readouterr().err
    assert "case_3.nii.gz is constant once it is clipped to" in said
    assert "Hounsfield" in said
    assert stored(raw) == ["case_0.h5", "case_1.h5", "case_2.h5"]


def test_mr_with_one_value_beside_zero_fails_alone(tmp_path: Path, capsys: Captured) -> None:
    raw = make_raw(tmp_path)
    for number in range(3):  # much is cropped: statistics are taken inside the non-zero voxels
        image = np.zeros((44, 48, 24), np.int16)
        image[10:32, 12:36, 6:18] = 100 + np.arange(12) if number else 100
        label = np.zeros(image.shape, np.uint8)
        label[12:16, 14:18, 8:12], label[20:24, 20:24, 8:12] = 1, 2
        write(image_of(raw, f"case_{number}"), image)
        write(label_of(raw, f"case_{number}"), label)
    assert run(raw, "--spacing", "median") == 2
    assert "case_0.nii.gz is constant once it is cropped" in capsys.readouterr().err
    assert stored(raw) == ["case_1.h5", "case_2.h5"]


def test_contrast_that_half_precision_rounds_away(tmp_path: Path, capsys: Captured) -> None:
    raw = make_raw(tmp_path, modality="noNorm")
    image = read(image_of(raw, "case_1")).astype(np.float32)
    write(image_of(raw, "case_1"), 4000 + image * np.float32(1e-3))
    assert run(raw) == 2
    assert "case_1.nii.gz is constant once it is rounded to float16. Add --dtype float32." in (
        capsys.readouterr().err
    )
    assert run(raw, "--dtype", "float32") == 0


def test_a_scan_that_is_resampled_to_one_voxel_says_so(tmp_path: Path, capsys: Captured) -> None:
    raw = make_raw(tmp_path)
    tiny = np.diag([0.01, 0.01, 0.01, 1.0])
    for path in (image_of(raw), label_of(raw)):
        write(path, read(path), tiny)
    assert run(raw) == 2
    said = capsys.readouterr().err
    assert "case_0.nii.gz is constant once it is resampled: one voxel is left. Check its" in said
    assert stored(raw) == ["case_1.h5", "case_2.h5"]


def test_a_scan_whose_unit_makes_it_a_house_fails_alone(tmp_path: Path, capsys: Captured) -> None:
    raw = make_raw(tmp_path)
    for path in (image_of(raw), label_of(raw)):
        image = nibabel.Nifti1Image(read(path), np.eye(4))
        image.header.set_xyzt_units("meter")
        nibabel.save(image, path)
    assert run(raw) == 2
    said = capsys.readouterr().err
    assert (
        "would have 12000 x 24000 x 22000 voxels once it is resampled: its spacing is 1000" in said
    )
    assert "memory" not in said
    assert stored(raw) == ["case_1.h5", "case_2.h5"]
