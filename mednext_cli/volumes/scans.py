"""Scans and label maps of every format: NIfTI, FreeSurfer; NRRD, MetaImage; DICOM series.

The format is told by the name's ending, in upper or lower case (`scan_names`). A folder is a DICOM
series; so is one of its files, which stands for all of its series in that folder.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom import DICOM
from mednext_cli.volumes.formats.format import Format
from mednext_cli.volumes.formats.itk import ITK
from mednext_cli.volumes.formats.nifti import NIFTI
from mednext_cli.volumes.volume import Grid, Volume

FORMATS: tuple[Format, ...] = (ITK, DICOM, NIFTI)
LABEL_SUFFIX = NIFTI.suffix  # of the label maps that are predicted, whatever the scan's format


def format_of(path: Path) -> Format:
    """The format of a scan or label map; NIfTI's says what is wrong with a path of none."""
    return next((kind for kind in FORMATS if kind.recognises(path)), NIFTI)


def read_grid(path: Path, index: int | None = None) -> Grid:
    """Shape and affine of a scan, from its header or headers alone.

    Raises:
        ScanError: as `read_volume`, as far as headers tell.
    """
    return format_of(path).read_grid(path, index)


def read_volume(path: Path, index: int | None = None) -> Volume:
    """A scan as float32, its scaling applied, in the file's own axis order.

    Args:
        path: a file, or the folder of a DICOM series.
        index: which volume of a 4D NIfTI file, or component of an .nrrd or .mha, to take; None for
            a 3D file.

    Raises:
        ScanError: it cannot be read or used; names the file and says why.
    """
    return format_of(path).read_volume(path, index)


def read_volumes(path: Path, indices: Sequence[int | None]) -> Iterator[Volume]:
    """Several volumes of a file, which is unpacked once; see `Format.read_volumes`."""
    return format_of(path).read_volumes(path, indices)


def read_label_map(path: Path) -> Volume:
    """A label map as integers (the smallest type that holds them), in the file's own axis order.

    Raises:
        ScanError: as `read_volume`; or values that are not whole numbers from 0 to 65535.
    """
    return format_of(path).read_label_map(path)


def write_label_map(
    path: Path, array: NDArray[Any], like: Path, names: Mapping[str, int] | None = None
) -> None:
    """Write labels on the grid of a scan, in the format that the name of the new file tells.

    Args:
        path: the file to write.
        array: label values in the axis order of `like`.
        like: the scan, of any format; only its header is read.
        names: label value by name, for formats that keep names.

    Raises:
        ScanError: `array` has another shape than the scan. StorageError: the disk refuses.
    """
    named = (kind for kind in FORMATS if path.name.lower().endswith(kind.endings))
    template = format_of(like).template(like)
    next(named, NIFTI).write_label_map(path, array, template, names or {})


def write_number_map(path: Path, array: NDArray[np.float32], like: Path) -> None:
    """Write a number a voxel on the grid of a scan, as NIfTI in float32.

    Args:
        path: the file to write (.nii or .nii.gz).
        array: in the axis order of `like`.
        like: the scan, of any format; only its header is read.

    Raises:
        ScanError: `array` has another shape than the scan. StorageError: the disk refuses.
    """
    from mednext_cli.volumes.formats.nifti_writer import write_numbers

    write_numbers(path, array, format_of(like).template(like))


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
