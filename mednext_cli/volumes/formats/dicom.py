"""A DICOM series as a volume (extra ``dicom``): a folder that holds one, or any file of it.

Slices are put in order by where they lie, not by their names or numbers. The array has the axes
(column, row, slice); the affine is turned from DICOM's LPS world to RAS, so that the volume is the
one that a NIfTI file of the same grid would give. Source: DICOM PS3.3 C.7.6.2 (image plane).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_affine, check_spacing, is_file, is_folder
from mednext_cli.volumes.formats.dicom_bytes import ENDINGS, has_dicom_name, is_dicom
from mednext_cli.volumes.formats.dicom_header import CONVERT, Header
from mednext_cli.volumes.formats.dicom_pixels import read_pixels
from mednext_cli.volumes.formats.dicom_series import (
    Series,
    dicom_files,
    find_series,
    holds_dicom,
    passed_over,
)
from mednext_cli.volumes.formats.format import Format
from mednext_cli.volumes.orientation import empty_as_canonical
from mednext_cli.volumes.scan_names import ending_of
from mednext_cli.volumes.volume import LPS_TO_RAS, Affine, Grid, Volume

_UNEVEN = 0.1  # of the distance of slices: how far one may lie from its place
_TILT = 0.01  # mm in the plane for each mm along the normal: half a degree
_SAME = 1e-4  # direction cosines
_MUCH = 2**28  # bytes of a series that need not be looked at for being packed too tightly
_MOST_PACKED = 200  # to one, over a whole series; scans are packed 2 to 20 to one


class Dicom(Format):
    """A series: its folder, or any file of it, which stands for all of it."""

    endings = ENDINGS

    def recognises(self, path: Path) -> bool:
        """A folder, or a file that only DICOM can be: by its name or, if no other's, its bytes."""
        if is_folder(path):
            return True
        if ending_of(path.name) or not is_file(path):
            return False
        return has_dicom_name(path) or is_dicom(path)

    def read_grid(self, path: Path, index: int | None = None) -> Grid:
        """See `Format`."""
        _check_single(path, index)
        return _grid(path, slices_in_order(path))

    def read_volumes(self, path: Path, indices: Sequence[int | None]) -> Iterator[Volume]:
        """See `Format`: (column, row, slice), rescale slope and intercept applied.

        Raises:
            ScanError: also no or several series, colour, several frames a file, slices that do not
                make a regular grid (missing, doubled, uneven, tilted), a compression without a
                decoder, or pydicom is not installed.
        """
        for index in indices:
            _check_single(path, index)
            yield _volume(path)

    def read_label_map(self, path: Path) -> Volume:
        """Refuses: a series is no label map."""
        what = "a folder" if is_folder(path) else "a DICOM file"
        raise ScanError(f"{path} is {what}, not a label map", "Give a file, as NIfTI.")

    def notes(self, path: Path) -> tuple[str, ...]:
        """See `Format`: what is passed over in a folder; of a file, nothing."""
        return passed_over(path) if is_folder(path) else ()

    def files_of(self, path: Path) -> list[Path]:
        """See `Format`: sorted by name; all DICOM files of a folder, or those of a file's series.

        Raises:
            ScanError: the folder cannot be listed; for a file, as `read_grid`.
        """
        if path.is_dir():
            return dicom_files(path)
        return [header.path for header in find_series(path).slices]


DICOM = Dicom()


def is_series(path: Path) -> bool:
    """Whether `path` is a folder with a DICOM file in it; reads a few bytes of its files."""
    return path.is_dir() and holds_dicom(path)


def slices_in_order(path: Path) -> list[Header]:
    """The slices of a series, in the order of its volume's third axis.

    Raises:
        ScanError: as `Dicom.read_grid`.
    """
    return _in_order(path, find_series(path))


def _check_single(path: Path, index: int | None) -> None:
    if index is not None:
        raise ScanError(
            f"{path} is a DICOM series, which is one channel", "Convert the channels to NIfTI."
        )


def _volume(path: Path) -> Volume:
    slices = slices_in_order(path)
    grid = _grid(path, slices)
    array = empty_as_canonical(grid, np.float32)
    for index, header in enumerate(slices):
        array[:, :, index] = read_pixels(header).T
    return Volume(array, grid.affine)


def make_one_volume(parts: Sequence[Series]) -> bool:
    """Whether these series, which share their UID, are the parts of one regular volume."""
    together = Series(tuple(header for part in parts for header in part.slices))
    try:
        _grid(parts[0].path, _in_order(parts[0].path, together))
    except ScanError:
        return False
    return True


def _in_order(path: Path, series: Series) -> list[Header]:
    """The slices along their normal, if they can be slices of one volume."""
    for header in series.slices:
        _check_kind(header)
    claimed = sum(header.claimed for header in series.slices)
    if claimed > max(_MUCH, _MOST_PACKED * sum(header.stored for header in series.slices)):
        raise ScanError(
            f"{path} claims {claimed / 2**30:.3g} GiB of pixels, more than its files can hold",
            "Copy or export the series again.",
        )
    first = series.slices[0]
    for header in series.slices[1:]:
        if differing := _differing(header, first):
            raise ScanError(
                f"{header.path} has another {differing} than {first.path.name}",
                "Remove slices of other scans from the folder.",
            )
    normal = _normal(first)
    return sorted(series.slices, key=lambda header: float(np.array(header.position) @ normal))


def _check_kind(header: Header) -> None:
    if header.frames > 1 or header.enhanced:
        kind = " (enhanced multi-frame)" if header.enhanced else ""
        raise ScanError(f"{header.path} holds several frames in one file{kind}", CONVERT)
    if header.samples > 1:
        raise ScanError(f"{header.path} is a colour image", "Give a series with one value a voxel.")
    places = {
        "ImagePositionPatient": header.position,
        "ImageOrientationPatient": header.orientation,
        "PixelSpacing": header.pixel_spacing,
    }
    missing = [tag for tag, value in places.items() if not value]
    if missing:
        raise ScanError(
            f"{header.path} does not say where its slice lies: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            "Export the original series of slices; scouts, screenshots and radiographs are none.",
        )


def _differing(header: Header, first: Header) -> str:
    """What keeps two slices from being of one volume; "" for nothing."""
    alike = {
        "size": header.size == first.size,
        "pixel spacing": np.allclose(header.pixel_spacing, first.pixel_spacing, rtol=_SAME),
        "orientation": np.allclose(header.orientation, first.orientation, atol=_SAME),
    }
    return " and ".join(what for what, same in alike.items() if not same)


def _normal(header: Header) -> NDArray[np.float64]:
    """Unit vector across the slices."""
    along_row, along_column = np.array(header.orientation[:3]), np.array(header.orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if not (np.allclose(lengths, 1, atol=1e-2) and abs(along_row @ along_column) < 1e-2):
        raise ScanError(f"{header.path} has an orientation that describes no plane", CONVERT)
    normal = np.cross(along_row, along_column)
    return np.asarray(normal / np.linalg.norm(normal))


def _grid(path: Path, slices: Sequence[Header]) -> Grid:
    first = slices[0]
    columns, rows = first.size
    step = _step(path, slices)
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.pixel_spacing[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.pixel_spacing[0]
    affine[:3, 2] = _normal(first) * step
    affine[:3, 3] = first.position
    checked: Affine = check_affine(path, LPS_TO_RAS @ affine)
    return Grid((columns, rows, len(slices)), checked)


def _step(path: Path, slices: Sequence[Header]) -> float:
    """Distance of neighbouring slices, mm, the same for all of them."""
    if len(slices) == 1:
        check_spacing(path, [slices[0].thickness or 0.0])
        return float(slices[0].thickness or 0.0)
    shifts = np.array([header.position for header in slices]) - slices[0].position
    normal = _normal(slices[0])
    heights = shifts @ normal
    step = float(heights[-1]) / (len(slices) - 1)
    _check_distances(path, slices, heights, step)
    drift = float(np.linalg.norm(shifts[-1] - heights[-1] * normal))
    if drift > _TILT * heights[-1]:
        raise ScanError(
            f"{path} is tilted by {np.degrees(np.arctan2(drift, heights[-1])):.1f} degrees "
            "(gantry tilt): its slices are shifted against each other",
            "Correct the tilt first, for example with dcm2niix, and give the NIfTI file.",
        )
    return step


def _check_distances(
    path: Path, slices: Sequence[Header], heights: NDArray[np.float64], step: float
) -> None:
    gaps = np.diff(heights)
    if step <= 0 or gaps.min() < _UNEVEN * step:
        where = int(np.argmin(gaps))
        raise ScanError(
            f"{path} has two slices in one place: {slices[where].path.name} and "
            f"{slices[where + 1].path.name}",
            "Give every phase or echo a folder of its own.",
        )
    if np.abs(heights - step * np.arange(len(slices))).max() > _UNEVEN * step:
        where = int(np.argmax(gaps))
        raise ScanError(
            f"{path} has slices at uneven distances, from {gaps.min():.3g} to {gaps.max():.3g} mm "
            f"(between {slices[where].path.name} and {slices[where + 1].path.name}): some are "
            "missing, or the scan was made so",
            "Export the series again, or resample it to one distance.",
        )
