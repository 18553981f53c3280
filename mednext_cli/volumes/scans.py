"""Scans and label maps of every format: NIfTI, FreeSurfer; NRRD, MetaImage; DICOM series.

The format is told by the name's ending, in upper or lower case (`scan_names`). A folder is a DICOM
series; so is one of its files, which stands for all of its series in that folder.
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes import dicom, itk, nifti, nifti_writer
from mednext_cli.volumes.checks import is_file, is_folder, whole_numbers
from mednext_cli.volumes.dicom_bytes import has_dicom_name, is_dicom
from mednext_cli.volumes.dicom_series import notes as dicom_notes
from mednext_cli.volumes.itk_files import read_header
from mednext_cli.volumes.scan_names import ITK_ENDINGS, ending_of
from mednext_cli.volumes.scan_names import SCAN_ENDINGS as SCAN_ENDINGS
from mednext_cli.volumes.stored import read_stored
from mednext_cli.volumes.volume import Grid, Volume


def read_grid(path: Path, index: int | None = None) -> Grid:
    """Shape and affine of a scan, from its header or headers alone.

    Raises:
        ScanError: as `read_volume`, as far as headers tell.
    """
    if _is_itk(path):
        return itk.read_grid(path, index)
    if _is_series(path):
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
    if _is_itk(path):
        return itk.read_volume(path, index)
    if _is_series(path):
        _check_single(path, index)
        return dicom.read_volume(path)
    return nifti.read_volume(path, index)


def read_label_map(path: Path) -> Volume:
    """A label map as integers (the smallest type that holds them), in the file's own axis order.

    Raises:
        ScanError: as `read_volume`; or values that are not whole numbers from 0 to 65535.
    """
    if _is_itk(path):
        grid, values = itk.read_values(path)
        labels, notes = whole_numbers(path, values)
        return Volume(labels, grid.affine, notes)
    if _is_series(path):
        what = "a folder" if is_folder(path) else "a DICOM file"
        raise ScanError(f"{path} is {what}, not a label map", "Give a file, as NIfTI.")
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
    if _is_series(like) or _is_itk(like):
        nifti_writer.write_labels_on(path, array, read_grid(like, _component(like)))
    else:
        nifti_writer.write_label_map(path, array, like)


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
    if is_folder(path):
        return dicom_notes(path)
    if _is_itk(path) or _is_series(path):
        return ()
    return nifti.geometry_notes(path)


def files_of(path: Path) -> list[Path]:
    """The files that a scan consists of: those of a DICOM series, a header and its voxels, or one.

    Raises:
        ScanError: a folder that cannot be listed, a header that names no file of its own folder.
    """
    if _is_series(path):
        return dicom.files_of(path)
    ending = ending_of(path.name).lower()
    if ending.startswith(".hdr"):
        return [path, *_voxels_beside(path)]
    if ending in (".mhd", ".nhdr"):
        return list(dict.fromkeys([path, read_header(path).voxels]))
    return [path]


def _voxels_beside(path: Path) -> list[Path]:
    """The file of voxels of a pair."""
    try:
        voxels = read_stored(path).voxels
    except ScanError:  # reported when the scan is read
        return []
    return [voxels] if voxels != path else []


def _is_series(path: Path) -> bool:
    """A folder, or a file that only DICOM can be."""
    if is_folder(path):
        return True
    if ending_of(path.name) or not is_file(path):
        return False
    return has_dicom_name(path) or is_dicom(path)


def _is_itk(path: Path) -> bool:
    return ending_of(path.name).lower() in ITK_ENDINGS


def _check_single(path: Path, index: int | None) -> None:
    if index is not None:
        raise ScanError(
            f"{path} is a DICOM series, which is one channel", "Convert the channels to NIfTI."
        )


def _component(path: Path) -> int | None:
    return 0 if _is_itk(path) and itk.components(path) > 1 else None
