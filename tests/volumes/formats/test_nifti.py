import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.scans import read_grid, read_label_map, read_volume, write_label_map

ARRAY = np.arange(2 * 3 * 4).reshape(2, 3, 4)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def with_spacing(path: Path, zooms: tuple[float, float, float]) -> Path:
    """The header's spacing overwritten byte by byte, as broken tools leave it."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<3f", content, 80, *zooms)
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def coloured(path: Path) -> Path:
    colours = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return save(path, colours)


def cut_off(path: Path) -> Path:
    save(path, np.random.default_rng(0).normal(size=(20, 20, 20)))
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


SINGULAR = np.diag([1.0, 1.0, 1.0, 1.0])
SINGULAR[:3, 1] = SINGULAR[:3, 0]
BROKEN = {
    "does not exist": lambda path: path,
    "damaged": lambda path: written(path, b"hello"),
    "no NIfTI": lambda path: written(path, b""),
    "cut off": cut_off,
    "not 3D": lambda path: save(path, np.zeros((2, 3, 4, 2), np.int16)),
    "2 x 3$|2 x 3\\.": lambda path: save(path, np.zeros((2, 3), np.int16)),
    "colour": coloured,
    "spacing of 0 x": lambda path: with_spacing(save(path, ARRAY.astype("i2")), (0, 1, 1)),
    "spacing of 1 x -1": lambda path: with_spacing(save(path, ARRAY.astype("i2")), (1, -1, 1)),
    "describes no grid": lambda path: save(path, ARRAY.astype("i2"), SINGULAR),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, reason: str) -> None:
    path = BROKEN[reason](tmp_path / "scan.nii.gz")
    for read in (read_volume, read_label_map):
        with pytest.raises(ScanError, match=reason) as error:
            read(path)
        assert str(path) in error.value.message
        assert error.value.remedy


@pytest.mark.parametrize(
    ("values", "reason"),
    [([0.5], "0.5"), ([np.nan], "nan"), ([-2.0], "-2"), ([70000.0], "70000")],
)
def test_values_that_are_no_labels(tmp_path: Path, values: list[float], reason: str) -> None:
    array = np.zeros((2, 2, 2), np.float32)
    array[0, 0, 0] = values[0]
    with pytest.raises(ScanError, match=reason):
        read_label_map(save(tmp_path / "label.nii.gz", array))


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
def test_labels_of_every_type_are_read_as_small_integers(tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path / "label.nii.gz", ARRAY.astype(dtype))
    assert np.array_equal(read_label_map(path).array, ARRAY)
    assert read_label_map(path).array.dtype == np.uint8
    assert read_volume(path).array.dtype == np.float32


def test_scaling_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ARRAY.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    image.header.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "scan.nii")
    content = bytearray((tmp_path / "scan.nii").read_bytes())
    stored = np.frombuffer(content[352:], np.int16).reshape(ARRAY.shape, order="F")
    slope, inter = struct.unpack_from("<2f", content, 112)
    assert (slope, inter) == (2.0, -1024.0)
    assert np.array_equal(read_volume(tmp_path / "scan.nii").array, stored * 2.0 - 1024.0)


def test_one_volume_of_four_dimensions(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii.gz", np.stack([ARRAY, -ARRAY], axis=-1).astype(np.float32))
    assert np.array_equal(read_volume(path, 1).array, -ARRAY)
    assert read_grid(path, 1).shape == ARRAY.shape
    with pytest.raises(ScanError, match="volume 3 is missing"):
        read_volume(path, 2)
    one = save(tmp_path / "one.nii.gz", ARRAY[..., None].astype(np.float32))
    assert read_volume(one).array.shape == ARRAY.shape


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_a_written_label_map_has_the_scan_s_header(tmp_path: Path, form: str) -> None:
    affine = np.array([[0, 0, -0.8, 3], [0, -0.8, 0, 4], [-3.0, 0, 0, 5], [0, 0, 0, 1.0]])
    scan = nibabel.Nifti1Image(ARRAY.astype(np.int16), None)
    getattr(scan, f"set_{form}")(affine, 1)
    scan.header.set_xyzt_units("mm", "sec")
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    path = tmp_path / "out" / "label.nii.gz"
    write_label_map(path, ARRAY, tmp_path / "scan.nii.gz")
    made = nibabel.load(path)
    assert np.allclose(made.affine, affine)
    assert int(made.header[f"{form}_code"]) == 1
    assert int(made.header["qform_code" if form == "sform" else "sform_code"]) == 0
    assert made.header.get_xyzt_units() == ("mm", "sec")
    assert made.get_data_dtype() == np.uint8
    write_label_map(path, ARRAY * 1000, tmp_path / "scan.nii.gz")
    assert nibabel.load(path).get_data_dtype() == np.uint16
    assert np.array_equal(read_label_map(path).array, ARRAY * 1000)
    with pytest.raises(ScanError, match="shape"):
        write_label_map(path, ARRAY[1:], tmp_path / "scan.nii.gz")
    assert [one.name for one in path.parent.iterdir()] == ["label.nii.gz"]


def test_real_scans(data_folder: Path) -> None:
    """A qform-only label, int32 CT, and labels stored as float."""
    kits = read_grid(data_folder / "kits19_labels" / "case_00015" / "segmentation.nii.gz")
    assert kits.spacing_mm[0] > kits.spacing_mm[1] > 0.3
    slab = read_volume(data_folder / "totalsegmentator_ct" / "example_ct_sm.nii.gz")
    labels = read_label_map(data_folder / "totalsegmentator_ct" / "example_seg.nii.gz")
    assert labels.array.dtype == np.uint8
    assert slab.array.min() < -900
