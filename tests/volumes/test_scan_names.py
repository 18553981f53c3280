"""Which names are scans, and which files belong to one scan."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.volumes.scan_names import ending_of, is_scan_name, list_scans, stem_of
from mednext_cli.volumes.scans import format_of, read_volume

STORED = np.random.default_rng(0).integers(-50, 400, (5, 4, 6)).astype(np.int16)


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [
        ("a.b.nii.gz", "a.b", ".nii.gz"),
        ("A.NII.GZ", "A", ".NII.GZ"),
        ("a.Nii", "a", ".Nii"),
        ("a.hdr", "a", ".hdr"),
        ("a.MHD", "a", ".MHD"),
        ("a.mgz", "a", ".mgz"),
        ("notes.txt", "notes.txt", ""),
        ("a.nii.bz2", "a.nii.bz2", ""),
    ],
)
def test_endings_in_upper_and_lower_case(name: str, stem: str, ending: str) -> None:
    assert (stem_of(name), ending_of(name)) == (stem, ending)
    assert is_scan_name(name) == bool(ending)


def test_a_folder_is_sorted_out(tmp_path: Path) -> None:
    for name in ("a.NII.GZ", "b.hdr", "b.img", "c.mhd", "C.RAW", "d.img", "e.nii.bz2", "f.txt"):
        (tmp_path / name).touch()
    (tmp_path / "g").mkdir()
    found = list_scans(tmp_path.iterdir())
    assert [path.name for path in found.scans] == ["a.NII.GZ", "b.hdr", "c.mhd"]
    assert [path.name for path in found.others] == ["f.txt", "g"]
    reasons = {path.name: why for path, why in found.unread.items()}
    assert reasons["d.img"] == "the voxels of a scan without its header (.hdr)"
    assert reasons["e.nii.bz2"] == ".nii.bz2 is not read: convert it to .nii.gz"
    assert len(reasons) == 2


@pytest.mark.parametrize("ending", [".hdr", ".HDR", ".mgz", ".MGZ", ".NII", ".NII.GZ"])
def test_what_nibabel_reads_is_read(tmp_path: Path, ending: str) -> None:
    kind = {".hdr": nibabel.Nifti1Pair, ".mgz": nibabel.MGHImage}
    image = kind.get(ending.lower(), nibabel.Nifti1Image)(STORED, np.diag([1.5, 2, 3, 1]))
    made = tmp_path / f"a{ending.lower()}"
    nibabel.save(image, made)
    path = made.rename(tmp_path / f"a{ending}")
    if ending == ".HDR":
        (tmp_path / "a.img").rename(tmp_path / "a.IMG")
    volume = read_volume(path)
    assert np.array_equal(volume.array, STORED)
    assert volume.spacing_mm == pytest.approx((1.5, 2, 3))
    assert set(format_of(path).files_of(path)) == set(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".mhd", ".MHD", ".nhdr", ".NHDR", ".MHA", ".NRRD"])
def test_what_itk_reads_is_read(tmp_path: Path, ending: str) -> None:
    itk = pytest.importorskip("SimpleITK")
    made = tmp_path / f"a{ending.lower()}"
    itk.WriteImage(itk.GetImageFromArray(STORED), str(made))
    path = made.rename(tmp_path / f"a{ending}")
    assert np.array_equal(read_volume(path).array, STORED.transpose(2, 1, 0))
    assert set(format_of(path).files_of(path)) == set(tmp_path.iterdir())
