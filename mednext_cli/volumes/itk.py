"""NRRD and MetaImage files through SimpleITK (extra ``simpleitk``).

Arrays have ITK's axes (x, y, z), the order in which the file stores them; affines are turned from
ITK's LPS world to RAS.
"""

import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_affine, check_spacing
from mednext_cli.volumes.itk_files import ItkHeader, damaged, is_meta, read_header
from mednext_cli.volumes.volume import Affine, Grid, Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_grid(path: Path, index: int | None = None) -> Grid:
    """Shape and affine, from the header alone.

    Raises:
        ScanError: as `read_volume`, as far as the header tells.
    """
    return _grid(path, _information(path), index)


def read_volume(path: Path, index: int | None = None) -> Volume:
    """An image as float32.

    Args:
        path: a file of one of these formats.
        index: which component of a vector image to take; None for one intensity a voxel.

    Raises:
        ScanError: missing, damaged, not 3D, vectors without an index or without that component, or
            SimpleITK is not installed.
    """
    grid, values = read_values(path, index)
    return Volume(np.asarray(values, dtype=np.float32), grid.affine)


def read_values(path: Path, index: int | None = None) -> tuple[Grid, NDArray[Any]]:
    """The grid and the voxels as they are stored, (x, y, z).

    Raises:
        ScanError: as `read_volume`.
    """
    reader = _information(path)
    grid = _grid(path, reader, index)
    try:
        values = _library(path).GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as error:
        raise damaged(path) from error
    if index is not None:
        values = values[..., index]
    return grid, np.asarray(values.transpose(2, 1, 0))


def components(path: Path) -> int:
    """How many values a voxel has.

    Raises:
        ScanError: missing, damaged, or SimpleITK is not installed.
    """
    return int(_information(path).GetNumberOfComponents())


def _library(path: Path) -> Any:  # noqa: ANN401 - SimpleITK is untyped
    try:
        import SimpleITK
    except ImportError as error:
        raise ScanError(
            f"{path} needs SimpleITK, which is not installed",
            "pip install 'mednext[simpleitk]', or convert it to .nii.gz.",
        ) from error
    return SimpleITK


def _information(path: Path) -> Any:  # noqa: ANN401
    itk = _library(path)
    header = read_header(path)
    reader = itk.ImageFileReader()
    # Named: ITK does not know every ending in upper case, and would guess by the content.
    reader.SetImageIO("MetaImageIO" if is_meta(path) else "NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise damaged(path) from error
    _check_size(path, header, reader, itk)
    return reader


def _check_size(path: Path, header: ItkHeader, reader: Any, itk: Any) -> None:  # noqa: ANN401
    """Refuse a header that claims more than its file can hold, before memory is asked for it."""
    bits = re.search(r"\d+", itk.GetPixelIDValueAsString(reader.GetPixelID()))
    values = prod(int(length) for length in reader.GetSize()) * reader.GetNumberOfComponents()
    claimed = values * (int(bits[0]) if bits else 8) // 8
    size = header.voxels.stat().st_size
    if claimed > size * header.growth:
        raise ScanError(
            f"{path} is damaged: its header claims {claimed / 2**30:.3g} GiB of voxels, the file "
            f"has {size} bytes",
            "Download or copy it again.",
        )


def _grid(path: Path, reader: Any, index: int | None) -> Grid:  # noqa: ANN401
    shape = tuple(int(length) for length in reader.GetSize())
    count = int(reader.GetNumberOfComponents())
    if len(shape) != 3 or 0 in shape:
        raise ScanError(
            f"{path} is not 3D: its shape is {' x '.join(map(str, shape))}",
            "Split it into one 3D file a channel.",
        )
    if (index is None and count != 1) or (index is not None and not 0 <= index < count):
        wanted = "one" if index is None else f"{index + 1} or more"
        raise ScanError(
            f"{path} has {count} values a voxel, not {wanted}", "Save one 3D file a channel."
        )
    return Grid((shape[0], shape[1], shape[2]), _affine(path, reader))


def _affine(path: Path, reader: Any) -> Affine:  # noqa: ANN401
    spacing = np.array(reader.GetSpacing(), dtype=np.float64)
    check_spacing(path, spacing.tolist())
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * spacing
    affine[:3, 3] = reader.GetOrigin()
    return check_affine(path, LPS_TO_RAS @ affine)
