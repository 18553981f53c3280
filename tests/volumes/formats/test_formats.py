"""NRRD, MetaImage and DICOM series, against the NIfTI file of the same grid."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom import is_series
from mednext_cli.volumes.orientation import to_canonical, turned_onto
from mednext_cli.volumes.scans import (
    format_of,
    read_grid,
    read_label_map,
    read_volume,
    write_label_map,
)
from tests.datasets.conftest import write_series

itk = pytest.importorskip("SimpleITK")
pytest.importorskip("pydicom")
STORED = np.random.default_rng(0).integers(-50, 400, (5, 4, 6)).astype(np.int16)
ANGLE = np.deg2rad(25)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])


def itk_image(dtype: type = np.int16) -> Any:
    image = itk.GetImageFromArray(STORED.clip(0).astype(dtype))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.0, 34.0, 5.0))
    image.SetDirection(TURN.ravel().tolist())
    return image


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_what_itk_reads_is_what_its_nifti_would_give(tmp_path: Path, ending: str) -> None:
    path, twin = tmp_path / f"scan{ending}", tmp_path / "scan.nii.gz"
    itk.WriteImage(itk_image(), str(path))
    itk.WriteImage(itk_image(), str(twin))
    made, expected = read_volume(path), read_volume(twin)
    assert made.array.dtype == np.float32
    assert np.array_equal(made.array, expected.array)
    assert made.grid.same_as(expected.grid, 1e-5)
    assert read_grid(path).same_as(made.grid)
    labels = read_label_map(path)
    assert np.array_equal(labels.array, made.array)
    assert labels.array.dtype == np.uint16


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_label_maps_for_itk_files_are_nifti_on_their_grid(tmp_path: Path, ending: str) -> None:
    path, out = tmp_path / f"scan{ending}", tmp_path / "label.nii.gz"
    itk.WriteImage(itk_image(), str(path))
    grid = read_grid(path)
    labels = np.arange(np.prod(grid.shape)).reshape(grid.shape) % 3
    write_label_map(out, labels, path)
    made = read_label_map(out)
    assert np.array_equal(made.array, labels)
    assert made.grid.same_as(grid, 1e-4)
    with pytest.raises(ScanError, match="shape"):
        write_label_map(out, labels[1:], path)


def test_vectors_are_channels(tmp_path: Path) -> None:
    path = tmp_path / "two.nrrd"
    itk.WriteImage(itk.Compose(itk_image(), itk_image() * 2), str(path))
    assert np.array_equal(read_volume(path, 1).array, 2 * read_volume(path, 0).array)
    with pytest.raises(ScanError, match="2 values a voxel, not one"):
        read_volume(path)
    with pytest.raises(ScanError, match="2 values a voxel, not 3"):
        read_volume(path, 2)
    write_label_map(tmp_path / "label.nii.gz", np.zeros(read_grid(path, 0).shape), path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_broken_itk_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    with pytest.raises(ScanError, match="does not exist"):
        read_volume(path)
    itk.WriteImage(itk_image(), str(path))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ScanError, match="damaged"):
        read_volume(path)
    path.write_bytes(b"hello")
    with pytest.raises(ScanError, match="damaged"):
        read_grid(path)
    itk.WriteImage(itk_image()[:, :, 0], str(path))
    with pytest.raises(ScanError, match="not 3D"):
        read_volume(path)


@pytest.mark.parametrize(
    ("module", "says"), [("SimpleITK", r"mednext\[simpleitk\]"), ("pydicom", r"mednext\[dicom\]")]
)
def test_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, says: str
) -> None:
    path = write_series(tmp_path / "series", STORED)
    if module == "SimpleITK":
        path = tmp_path / "scan.nrrd"
        itk.WriteImage(itk_image(), str(path))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ScanError, match=says):
        read_volume(path)


def test_a_series_is_the_nifti_that_itk_makes_of_it(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", STORED)
    (folder / "readme.txt").write_text("not DICOM")
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    itk.WriteImage(reader.Execute(), str(tmp_path / "twin.nii.gz"))
    made, expected = read_volume(folder), read_volume(tmp_path / "twin.nii.gz")
    assert made.array.shape == (4, 5, 6)
    assert np.array_equal(made.array, STORED.transpose(1, 0, 2) * 2.0 - 1024)
    assert np.array_equal(made.array, expected.array)
    assert made.grid.same_as(expected.grid, 1e-5)
    assert read_grid(folder).same_as(made.grid)
    assert read_grid(folder).spacing_mm == pytest.approx((0.8, 0.8, 2.5))


@pytest.mark.slow
def test_the_real_series_is_the_nifti_that_itk_makes_of_it(
    data_folder: Path, tmp_path: Path
) -> None:
    """20 slices of CT in JPEG 2000, decoded by another library as well."""
    folder = data_folder / "totalsegmentator_ct" / "example_ct_dicom"
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    itk.WriteImage(reader.Execute(), str(tmp_path / "twin.nii"))
    made, expected = read_volume(folder), read_volume(tmp_path / "twin.nii")
    assert made.array.shape == (512, 512, 20)
    assert made.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    turned, twin = to_canonical(made), to_canonical(expected)
    assert np.array_equal(turned.array, twin.array)
    assert turned.grid.same_as(twin.grid, 1e-4)


def test_oblique_series(tmp_path: Path) -> None:
    normal = np.cross(TURN[0], TURN[1])
    folder = write_series(
        tmp_path / "series",
        STORED,
        ImageOrientationPatient=[*TURN[0], *TURN[1]],
        ImagePositionPatient=lambda number: [float(x) for x in normal * 2.5 * number],
    )
    affine = read_grid(folder).affine
    assert affine[:3, 2] == pytest.approx(normal * 2.5 * [-1, -1, 1])


def test_one_slice_takes_its_thickness(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", STORED[:, :, :1])
    assert read_grid(folder).spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    assert read_volume(folder).array.shape == (4, 5, 1)


def position(gap_after: int = 99, tilt: float = 0.0, extra: float = 0.0) -> Callable[[int], Any]:
    def of(number: int) -> list[float]:
        height = 2.5 * (number + (number > gap_after)) + extra * (number == 2)
        return [0.0, tilt * height, height]

    return of


WRONG_SERIES: dict[str, dict[str, Any]] = {
    "uneven distances, from 2.5 to 5 mm": {"ImagePositionPatient": position(gap_after=2)},
    "uneven distances": {"ImagePositionPatient": position(extra=1.2)},
    "two slices in one place": {"ImagePositionPatient": lambda number: [0, 0, number // 2]},
    r"tilted by 15\.0 degrees \(gantry tilt\)": {
        "ImagePositionPatient": position(tilt=float(np.tan(np.deg2rad(15))))
    },
    "holds 6 DICOM series": {"SeriesInstanceUID": lambda number: f"1.2.{number + 1}"},
    "another orientation than": {
        "ImageOrientationPatient": lambda number: (
            [1, 0, 0, 0, 0, 1] if number else [1, 0, 0, 0, 1, 0]
        )
    },
    "describes no plane": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    "several frames": {"NumberOfFrames": 3},
    "colour": {"SamplesPerPixel": 3},
    "spacing of 0 x": {"PixelSpacing": [0.8, 0.0]},
    "damaged": {"PixelData": b"\0\0"},
}


@pytest.mark.parametrize("reason", WRONG_SERIES)
def test_series_that_cannot_be_used(tmp_path: Path, reason: str) -> None:
    folder = write_series(tmp_path / "series", STORED, **WRONG_SERIES[reason])
    with pytest.raises(ScanError, match=reason) as error:
        read_volume(folder)
    assert str(folder) in error.value.message
    assert error.value.remedy


def test_a_series_without_places(tmp_path: Path) -> None:
    import pydicom

    folder = write_series(tmp_path / "series", STORED)
    path = next(folder.iterdir())
    header = pydicom.dcmread(path)
    del header.ImagePositionPatient
    header.save_as(path)
    with pytest.raises(ScanError, match="where its slice lies"):
        read_volume(folder)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ScanError, match=path.name):
        read_volume(folder)


def test_what_is_no_image_is_left_out(tmp_path: Path) -> None:
    """A structure set, as planning systems put it beside the slices."""
    import pydicom

    folder = write_series(tmp_path / "series", STORED)
    header = pydicom.dcmread(next(folder.iterdir()))
    header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    del header.Rows
    header.save_as(folder / "structures")
    assert read_volume(folder).array.shape == (4, 5, 6)


def test_a_compression_without_decoder(tmp_path: Path) -> None:
    import pydicom
    from pydicom.encaps import encapsulate

    folder = write_series(tmp_path / "series", STORED)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"  # MPEG-4, never CT
        header.PixelData = encapsulate([b"\0" * 8])
        header["PixelData"].is_undefined_length = True
        header.save_as(path)
    with pytest.raises(ScanError, match=r"is compressed .MPEG-4.*cannot be decoded"):
        read_volume(folder)


def test_what_is_a_series(tmp_path: Path) -> None:
    assert is_series(write_series(tmp_path / "series", STORED))
    (tmp_path / "empty").mkdir()
    assert not is_series(tmp_path / "empty")
    assert not is_series(tmp_path / "gone")
    with pytest.raises(ScanError, match="no DICOM slices"):
        read_volume(tmp_path / "empty")
    with pytest.raises(ScanError, match="one channel"):
        read_volume(tmp_path / "series", 0)
    with pytest.raises(ScanError, match="is a folder"):
        read_label_map(tmp_path / "series")


def test_the_same_voxels_in_another_order(tmp_path: Path) -> None:
    """What dcm2niix stores of a series has its rows the other way round."""
    folder = write_series(tmp_path / "series", STORED)
    made = read_volume(folder)
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = made.array.shape[1] - 1
    path = tmp_path / "flipped.nii.gz"
    nibabel.save(nibabel.Nifti1Image(made.array[:, ::-1], made.affine @ flip), path)
    back = turned_onto(read_volume(path), made.grid)
    assert back is not None
    assert np.array_equal(back.array, made.array)
    moved = nibabel.Nifti1Image(made.array, made.affine @ flip)
    nibabel.save(moved, path)
    assert turned_onto(read_volume(path), made.grid) is not None
    shifted = made.affine.copy()
    shifted[0, 3] += 1
    nibabel.save(nibabel.Nifti1Image(made.array, shifted), path)
    assert turned_onto(read_volume(path), made.grid) is None


@pytest.mark.parametrize("name", ["label.nrrd", "label.dcm"])
def test_label_maps_are_refused_in_formats_that_are_not_written(tmp_path: Path, name: str) -> None:
    scan = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), np.float32), np.eye(4)), scan)
    with pytest.raises(ScanError, match=f"{name}: label maps are not written in this format"):
        write_label_map(tmp_path / name, np.zeros((2, 3, 4), np.uint8), scan)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.5, -3.0)])
def test_the_first_plane_alone(tmp_path: Path, scaling: tuple[float, float]) -> None:
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.header.set_slope_inter(*scaling)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(image, path)
    plane = format_of(path).read_first_plane(path)
    assert np.array_equal(plane, read_volume(path).array[..., 0])
