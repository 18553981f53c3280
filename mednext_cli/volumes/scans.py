"""Scans and label maps of every format: NIfTI; NRRD and MetaImage; folders of a DICOM series.

The format is told by the name (.nii, .nii.gz, .nrrd, .mha); a folder is a DICOM series.
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes import dicom, itk, nifti
from mednext_cli.volumes.checks import whole_numbers
from mednext_cli.volumes.volume import Grid, Volume

SCAN_ENDINGS = (".nii.gz", ".nii", *itk.ENDINGS)


def read_grid(path: Path, index: int | None = None) -> Grid:
    """Shape and affine of a scan, from its header or headers alone.

    Raises:
        ScanError: as `read_volume`, as far as headers tell.
    """
    if path.name.endswith(itk.ENDINGS):
        return itk.read_grid(path, index)
    if path.is_dir():
        _check_single(path, index)
        return dicom.read_grid(path)
    return nifti.read_grid(path, index)


def read_volume(path: Path, index: int | None = None) -> Volume:
    """A scan as float32, its scaling applied, in the file's own axis order.

    Args:
        path: a file, or the folder of a DICOM series.
        index: which volume of a 4D NIfTI file, or component of an .nrrd or .mha, to take; None for
            a 3D file.

    Raises:
        ScanError: it cannot be read or used; names the file and says why.
    """
    if path.name.endswith(itk.ENDINGS):
        return itk.read_volume(path, index)
    if path.is_dir():
        _check_single(path, index)
        return dicom.read_volume(path)
    return nifti.read_volume(path, index)


def read_label_map(path: Path) -> Volume:
    """A label map as integers (the smallest type that holds them), in the file's own axis order.

    Raises:
        ScanError: as `read_volume`; or values that are not whole numbers from 0 to 65535.
    """
    if path.name.endswith(itk.ENDINGS):
        grid, values = itk.read_values(path)
        return Volume(whole_numbers(path, values), grid.affine)
    if path.is_dir():
        raise ScanError(f"{path} is a folder, not a label map", "Give a file.")
    return nifti.read_label_map(path)


def write_label_map(path: Path, array: NDArray[Any], like: Path) -> None:
    """Write labels as NIfTI on the grid of a scan, whatever its format.

    Args:
        path: the file to write (.nii or .nii.gz).
        array: label values in the axis order of `like`.
        like: the scan; only its header is read.

    Raises:
        ScanError: `array` has another shape than the scan. StorageError: the disk refuses.
    """
    if like.is_dir() or like.name.endswith(itk.ENDINGS):
        nifti.write_labels_on(path, array, read_grid(like, _component(like)))
    else:
        nifti.write_label_map(path, array, like)


def check_last(path: Path, index: int | None) -> None:
    """Raise `ScanError` where a 4D file holds volumes after `index`, which nobody would read."""
    if index is None:
        return
    try:
        read_grid(path, index + 1)
    except ScanError:
        return
    raise ScanError(
        f"{path} holds more than the {index + 1} volumes that are named as channels",
        "Name every channel, or take the others out of the file.",
    )


def geometry_notes(path: Path) -> tuple[str, ...]:
    """What is odd about where a scan lies, though it can be used; a line each."""
    if path.is_dir() or path.name.endswith(itk.ENDINGS):
        return ()
    return nifti.geometry_notes(path)


def _check_single(path: Path, index: int | None) -> None:
    if index is not None:
        raise ScanError(
            f"{path} is a DICOM series, which is one channel", "Convert the channels to NIfTI."
        )


def _component(path: Path) -> int | None:
    return 0 if path.is_file() and itk.components(path) > 1 else None
