"""Headers that are odd, and those that lie."""

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.orientation import to_canonical
from mednext_cli.volumes.scans import format_of, read_grid, read_label_map, read_volume

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
SFORM = np.diag([2.0, 1.0, 1.0, 1.0])


def save(path: Path, sform: np.ndarray, qform: np.ndarray, codes: tuple[int, int]) -> Path:
    image = nibabel.Nifti1Image(ARRAY, None)
    image.set_qform(qform, codes[1])
    image.set_sform(sform, codes[0])
    if not codes[0]:  # the spacing belongs to the form in use
        image.header["pixdim"][1:4] = np.linalg.norm(qform[:3, :3], axis=0)
    nibabel.save(image, path)
    return path


def moved(millimetres: float) -> np.ndarray:
    affine = SFORM.copy()
    affine[1, 3] = millimetres
    return affine


@pytest.mark.parametrize(
    ("codes", "shift", "noted", "origin"),
    [
        ((1, 1), 7.0, True, 0.0),
        ((2, 1), 7.0, True, 0.0),
        ((1, 1), 0.05, False, 0.0),
        ((1, 0), 7.0, False, 0.0),
        ((0, 1), 7.0, False, 7.0),
    ],
)
def test_forms_that_disagree_are_noted_and_the_sform_is_used(
    tmp_path: Path, codes: tuple[int, int], shift: float, noted: bool, origin: float
) -> None:
    path = save(tmp_path / "scan.nii.gz", SFORM, moved(shift), codes)
    assert [("sform and qform disagree" in note) for note in format_of(path).notes(path)] == [
        True
    ] * noted
    assert read_grid(path).affine[1, 3] == pytest.approx(origin)


def test_sheared_axes_are_noted(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 2 * np.tan(np.deg2rad(12))  # gantry tilt
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(ARRAY, affine), path)
    (note,) = [one for one in format_of(path).notes(path) if "sheared" in one]
    assert "by 12.0 degrees" in note
    assert read_volume(path).array.shape == ARRAY.shape


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_an_absurd_size(tmp_path: Path, packed: bool) -> None:
    """60 TiB of voxels in a few hundred bytes: refused before memory is asked for."""
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(ARRAY, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<3h", content, 42, 32767, 32767, 32767)
    if packed:
        path = tmp_path / "scan.nii.gz"
        content = bytearray(gzip.compress(bytes(content)))
    path.write_bytes(bytes(content))
    for read in (read_grid, read_volume, read_label_map):
        with pytest.raises(ScanError, match=r"is damaged: its header claims 6.*e\+04 GiB") as error:
            read(path)
        assert str(path) in error.value.message


def test_voxels_that_begin_beyond_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(ARRAY, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, 2.0**30)
    path.write_bytes(content)
    with pytest.raises(ScanError, match=r"claims \d+ bytes of voxels from byte 1073741824 on"):
        read_volume(path)


def test_a_header_that_claims_a_slice_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(ARRAY, np.eye(4)), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<h", content, 46, 7)
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ScanError, match="damaged"):
        read_volume(path)


def test_negative_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(ARRAY, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 44, -5)
    path.write_bytes(bytes(content))
    with pytest.raises(ScanError, match=r"scan\.nii"):
        read_volume(path)


@pytest.mark.parametrize("dtype", [">i2", ">f4", "<i4", "<u2", "<f8"])
def test_byte_orders_and_types(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "scan.nii.gz"
    header = nibabel.Nifti1Header(endianness=dtype[0])
    nibabel.save(nibabel.Nifti1Image(ARRAY.astype(dtype), np.eye(4), header), path)
    assert gzip.decompress(path.read_bytes())[:4] == struct.pack(f"{dtype[0]}i", 348)
    assert np.array_equal(read_volume(path).array, ARRAY)
    assert np.array_equal(read_label_map(path).array, ARRAY)


@pytest.mark.parametrize("dtype", ["<i4", "<u4", "<f4"])
def test_label_values_above_65535_are_refused(tmp_path: Path, dtype: str) -> None:
    array = ARRAY.astype(dtype)
    array[0, 0, 0] = 65536
    path = tmp_path / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    with pytest.raises(ScanError, match="the value 65536"):
        read_label_map(path)


def test_left_handed_grids_keep_left_and_right(tmp_path: Path) -> None:
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])  # x runs to the left: indices and world disagree
    affine[0, 3] = 3
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(ARRAY, affine), path)
    turned = to_canonical(read_volume(path))
    assert np.array_equal(turned.array, ARRAY[::-1].transpose(2, 1, 0))
