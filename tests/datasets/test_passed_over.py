"""Nothing in a raw folder is left out without a line."""

from pathlib import Path

import pytest

from mednext_cli.app import main
from tests.datasets.conftest import describe_msd, write_label, write_scan, write_series

Captured = pytest.CaptureFixture[str]


def verify(raw: Path, layout: str, *options: str) -> int:
    call = ["datasets", "verify", str(raw), "--dataset", layout, "--workers", "0"]
    return main([*call, *options])


def test_a_whole_dataset_says_nothing(msd: Path, capsys: Captured) -> None:
    assert verify(msd, "msd") == 0
    assert "passed over" not in capsys.readouterr().err


def test_scans_of_no_case(msd: Path, capsys: Captured) -> None:
    write_scan(msd / "imagesTr" / "not_listed.nii.gz")
    write_scan(msd / "imagesTr" / "deeper" / "x.nii")
    write_label(msd / "labelsTr" / "alone.nii.gz")
    assert verify(msd, "msd") == 0
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "passed over" in one]
    assert line.startswith("warning:")
    assert "3 scans belong to no case" in line
    for name in ("imagesTr/not_listed.nii.gz", "imagesTr/deeper/x.nii"):
        assert name in line


def test_what_is_hidden_no_scan_or_not_read(msd: Path, capsys: Captured) -> None:
    (msd / "imagesTr" / "._a.nii.gz").write_bytes(b"junk")
    (msd / "README.md").write_text("hello")
    (msd / "imagesTr" / "old.mnc").write_bytes(b"x")
    (msd / "imagesTr" / "voxels.img").write_bytes(b"x")
    assert verify(msd, "msd") == 0
    said = capsys.readouterr().err
    assert "1 hidden files are passed over (imagesTr/._a.nii.gz)" in said
    assert "1 other files are no scans (README.md)" in said
    assert "imagesTr/old.mnc is passed over: .mnc is not read" in said
    assert "imagesTr/voxels.img is passed over: the voxels of a scan without its header" in said


def test_hidden_files_that_dataset_json_lists(msd: Path, capsys: Captured) -> None:
    listed = [f"imagesTr/{name}.nii.gz" for name in ("a", "b", "._a", "._b")]
    describe_msd(msd, training=listed)
    assert verify(msd, "msd") == 0
    assert "lists 2 hidden files, which are passed over: '._a.nii.gz', ..." in (
        capsys.readouterr().err
    )


def test_what_the_user_left_out_is_no_warning(tmp_path: Path, capsys: Captured) -> None:
    for number in (1, 507):
        write_scan(tmp_path / "imagesTr" / f"amos_{number:04d}.nii.gz")
        write_label(tmp_path / "labelsTr" / f"amos_{number:04d}.nii.gz")
    assert verify(tmp_path, "amos22", "--modality", "ct") == 0
    said = capsys.readouterr().err
    assert "2 scans belong to no case and are passed over (imagesTr/amos_0507.nii.gz" in said
    assert "warning" not in said


def test_kits21_with_its_other_files(tmp_path: Path, capsys: Captured) -> None:
    case = tmp_path / "case_00000"
    write_scan(case / "imaging.nii.gz")
    for name in ("MAJ", "OR", "AND"):
        write_label(case / f"aggregated_{name}_seg.nii.gz", (1, 2, 3))
    write_label(case / "segmentations" / "kidney_instance-1_annotation-1.nii.gz")
    assert verify(tmp_path, "kits21") == 0
    assert "3 scans belong to no case" in capsys.readouterr().err


def test_a_series_and_a_linked_folder(tmp_path: Path, capsys: Captured) -> None:
    import numpy as np

    raw = tmp_path / "raw"
    write_series(raw / "images" / "a", np.arange(60, dtype=np.int16).reshape(4, 5, 3))
    array = np.zeros((5, 4, 3), np.uint8)
    array[0, 0, 0] = 1
    write_scan(tmp_path / "elsewhere" / "a.nii.gz", array)
    write_scan(tmp_path / "elsewhere" / "b" / "c.nii.gz")
    (raw / "labels").symlink_to(tmp_path / "elsewhere")
    (raw / "loop").symlink_to(raw)
    verify(raw, "folder")
    said = capsys.readouterr().err
    assert "1 scans belong to no case and are passed over (labels/b/c.nii.gz)" in said
    assert "no scans" not in said


def test_no_case_has_a_label(tmp_path: Path, capsys: Captured) -> None:
    write_scan(tmp_path / "case_00000" / "imaging.nii.gz")
    assert verify(tmp_path, "kits19") == 0
    assert "kits19: none of the 1 cases has a label map" in capsys.readouterr().err
