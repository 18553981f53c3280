"""A folder that holds one DICOM series, as a volume (extra ``dicom``).

Slices are put in order by where they lie, not by their names or numbers. The array has the axes
(column, row, slice); the affine is turned from DICOM's LPS world to RAS, so that the volume is the
one that a NIfTI file of the same grid would give. Source: DICOM PS3.3 C.7.6.2 (image plane).
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_affine, check_spacing
from mednext_cli.volumes.itk import LPS_TO_RAS
from mednext_cli.volumes.volume import Affine, Grid, Volume

logger = logging.getLogger(__name__)
_MAGIC = (128, b"DICM")
_UNEVEN = 0.1  # of the distance of slices: how far one may lie from its place
_TILT = 0.01  # mm in the plane for each mm along the normal: half a degree
_SAME = 1e-4  # direction cosines
_CONVERT = "Convert the series with dcm2niix and give the NIfTI file."
_TAGS = (
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
)


@dataclass(frozen=True, eq=False)
class _Slice:
    """One file: where its first pixel's centre lies (LPS, mm), and what all must share."""

    path: Path
    position: NDArray[np.float64]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    size: tuple[int, int]
    series: str
    thickness: float | None


def is_series(path: Path) -> bool:
    """Whether `path` is a folder with a DICOM file in it; reads a few bytes."""
    try:
        return path.is_dir() and any(_is_dicom(one) for one in path.iterdir())
    except OSError:
        return False


def files_of(folder: Path) -> list[Path]:
    """The DICOM files of a folder, sorted by name; others, hidden ones too, are passed over."""
    return sorted(path for path in folder.iterdir() if _is_dicom(path))


def read_grid(folder: Path) -> Grid:
    """Shape and affine of the series, from the headers alone.

    Raises:
        ScanError: as `read_volume`, as far as the headers tell.
    """
    return _grid(folder, _slices(folder))


def read_volume(folder: Path) -> Volume:
    """The series as float32 (column, row, slice), rescale slope and intercept applied.

    Raises:
        ScanError: no or several series, colour, several frames a file, slices that do not make a
            regular grid (missing, doubled, uneven, tilted), a compression without a decoder, a
            damaged file, or pydicom is not installed.
    """
    slices = _slices(folder)
    grid = _grid(folder, slices)
    array = np.empty(grid.shape, dtype=np.float32)
    for index, one in enumerate(slices):
        array[:, :, index] = _pixels(one.path).T
    return Volume(array, grid.affine)


def _is_dicom(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    offset, magic = _MAGIC
    try:
        with path.open("rb") as stream:
            return stream.read(offset + len(magic))[offset:] == magic
    except OSError:
        return False


def _library(path: Path) -> Any:  # noqa: ANN401 - pydicom's own types are not needed
    try:
        import pydicom
    except ImportError as error:
        raise ScanError(
            f"{path} needs pydicom, which is not installed", "pip install 'mednext[dicom]'."
        ) from error
    # What a header holds beside its values is not looked at, and no reason to warn.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def _slices(folder: Path) -> list[_Slice]:
    """The slices of the one series in the folder, in order along their normal."""
    library = _library(folder)
    try:
        files = files_of(folder)
    except OSError as error:
        raise ScanError(f"{folder} cannot be listed: {error.strerror}", "Check it.") from error
    slices = [found for found in (_read_header(library, path) for path in files) if found]
    if not slices:
        raise ScanError(f"{folder} holds no DICOM slices", "Give the folder of one series.")
    series = {one.series for one in slices}
    if len(series) > 1:
        raise ScanError(
            f"{folder} holds {len(series)} DICOM series", "Give every series a folder of its own."
        )
    first = slices[0]
    for one in slices[1:]:
        if one.size != first.size or not (
            np.allclose(one.orientation, first.orientation, atol=_SAME)
            and np.allclose(one.pixel_spacing, first.pixel_spacing, rtol=_SAME)
        ):
            raise ScanError(
                f"{one.path} has another size, pixel spacing or orientation than {first.path.name}",
                "Remove slices of other scans from the folder.",
            )
    normal = _normal(first)
    return sorted(slices, key=lambda one: float(one.position @ normal))


def _read_header(library: Any, path: Path) -> _Slice | None:  # noqa: ANN401
    """The header of a slice; None for what is no image (DICOMDIR, reports, structures)."""
    try:
        header = library.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        kind = header.file_meta.get("MediaStorageSOPClassUID")
        if kind is not None and "Image Storage" not in kind.name:
            logger.debug("%s (%s) is no image and left out", path, kind.name)
            return None
        if "Rows" not in header or "Columns" not in header:  # cut off before them
            raise _damaged(path)
        _check_kind(path, header)
        thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
        return _Slice(
            path=path,
            position=np.array([float(value) for value in header.ImagePositionPatient]),
            orientation=tuple(float(value) for value in header.ImageOrientationPatient),
            pixel_spacing=(float(header.PixelSpacing[0]), float(header.PixelSpacing[1])),
            size=(int(header.Columns), int(header.Rows)),
            series=str(header.get("SeriesInstanceUID", "")),
            thickness=float(thickness) if thickness else None,
        )
    except AttributeError as error:
        raise ScanError(
            f"{path} does not say where its slice lies (position, orientation, spacing)",
            "Give a series of axial, coronal or sagittal slices; scouts have none.",
        ) from error
    except ScanError:
        raise
    except Exception as error:  # pydicom lets through whatever broken bytes lead to
        raise _damaged(path) from error


def _check_kind(path: Path, header: Any) -> None:  # noqa: ANN401
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ScanError(f"{path} holds several frames in one file", _CONVERT)
    if int(header.get("SamplesPerPixel") or 1) > 1:
        raise ScanError(f"{path} is a colour image", "Give a series with one intensity per voxel.")


def _damaged(path: Path) -> ScanError:
    return ScanError(f"{path} is damaged or cut off", "Copy or export the series again.")


def _normal(one: _Slice) -> NDArray[np.float64]:
    """Unit vector across the slices."""
    along_row, along_column = np.array(one.orientation[:3]), np.array(one.orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if not (np.allclose(lengths, 1, atol=1e-2) and abs(along_row @ along_column) < 1e-2):
        raise ScanError(f"{one.path} has an orientation that describes no plane", _CONVERT)
    normal = np.cross(along_row, along_column)
    return np.asarray(normal / np.linalg.norm(normal))


def _grid(folder: Path, slices: list[_Slice]) -> Grid:
    first = slices[0]
    columns, rows = first.size
    step = _step(folder, slices)
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.pixel_spacing[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.pixel_spacing[0]
    affine[:3, 2] = _normal(first) * step
    affine[:3, 3] = first.position
    checked: Affine = check_affine(folder, LPS_TO_RAS @ affine)
    return Grid((columns, rows, len(slices)), checked)


def _step(folder: Path, slices: list[_Slice]) -> float:
    """Distance of neighbouring slices, mm, the same for all of them."""
    if len(slices) == 1:
        check_spacing(folder, [slices[0].thickness or 0.0])
        return float(slices[0].thickness or 0.0)
    shifts = np.array([one.position for one in slices]) - slices[0].position
    heights = shifts @ _normal(slices[0])
    step = float(heights[-1]) / (len(slices) - 1)
    gaps = np.diff(heights)
    if gaps.min() < _UNEVEN * step:
        where = int(np.argmin(gaps))
        raise ScanError(
            f"{folder} has two slices in one place: {slices[where].path.name} and "
            f"{slices[where + 1].path.name}",
            "Give every phase or echo a folder of its own.",
        )
    if np.abs(heights - step * np.arange(len(slices))).max() > _UNEVEN * step:
        raise ScanError(
            f"{folder} has slices at uneven distances, from {gaps.min():.3g} to "
            f"{gaps.max():.3g} mm: some are missing, or the scan was made so",
            "Export the series again, or resample it to one distance.",
        )
    drift = float(np.linalg.norm(shifts[-1] - heights[-1] * _normal(slices[0])))
    if drift > _TILT * heights[-1]:
        raise ScanError(
            f"{folder} is tilted by {np.degrees(np.arctan2(drift, heights[-1])):.1f} degrees "
            "(gantry tilt): its slices are shifted against each other",
            "Correct the tilt first, for example with dcm2niix, and give the NIfTI file.",
        )
    return step


def _pixels(path: Path) -> NDArray[np.float32]:
    """Intensities of a slice (row, column)."""
    library = _library(path)
    try:
        header = library.dcmread(path)
        compression = header.file_meta.TransferSyntaxUID
    except Exception as error:
        raise _damaged(path) from error
    try:
        stored = header.pixel_array
    except (RuntimeError, NotImplementedError, ImportError) as error:
        if not compression.is_compressed:
            raise _damaged(path) from error
        raise ScanError(
            f"{path} is compressed ({compression.name}) and cannot be decoded",
            "pip install 'mednext[dicom]' brings decoders; else decompress it (dcmdjpeg, gdcmconv) "
            "or copy it again.",
        ) from error
    except Exception as error:
        raise _damaged(path) from error
    slope = float(header.get("RescaleSlope", 1))
    intercept = float(header.get("RescaleIntercept", 0))
    return np.asarray(stored, dtype=np.float32) * np.float32(slope) + np.float32(intercept)
