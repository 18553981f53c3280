"""NIfTI files that every reader puts where the scan is: nibabel, ITK and what is built on them.

Readers differ where a header leaves something open (which form counts, where pixdim and sform
disagree, what neither form means). So a label map gets the very fields of the scan's own header,
and whoever reads both reads the same. Fields that nibabel cannot read are written anew.
"""

from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.format import Template
from mednext_cli.volumes.formats.gzipped import write_bytes
from mednext_cli.volumes.formats.nifti_affine import millimetres
from mednext_cli.volumes.orientation import contiguous
from mednext_cli.volumes.volume import Grid

_nib: Any = nibabel  # untyped
_SAME = 0.01  # of a voxel; float32 rounds far less
_ALIGNED = 2
_KNOWN_CODES = range(1, 6)
_MILLIMETRES = 2
_SPATIAL_UNITS = range(4)  # 4 to 7 are reserved
_TIME_UNITS = range(0, 56, 8)
_MOST_NIFTI_1 = 32767  # voxels along an axis
_FORMS = (
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def write_labels(path: Path, array: NDArray[Any], like: Template) -> None:
    """Write labels on the grid of a scan; of a NIfTI file, with its forms, codes, pixdim and units.

    Args:
        path: the file to write (.nii or .nii.gz).
        array: label values (X, Y, Z) in the axis order of the scan's file.
        like: the scan.

    Raises:
        ScanError: `array` has another shape than the scan. StorageError: the disk refuses.
    """
    _save(path, _as_labels(path, array, like.grid), _header_of(like))


def write_numbers(path: Path, array: NDArray[np.float32], like: Template) -> None:
    """Write a number a voxel, as `write_labels` writes labels; it raises the same."""
    _check_shape(path, array, like.grid)
    _save(path, array, _header_of(like))


def _header_of(like: Template) -> Any:  # noqa: ANN401 - nibabel is untyped
    return _new(like.grid) if like.header is None else _like(like.header, like.grid)


def _as_labels(path: Path, array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    _check_shape(path, array, grid)
    return array.astype(np.uint8 if array.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16)


def _check_shape(path: Path, array: NDArray[Any], grid: Grid) -> None:
    if array.shape != grid.shape:
        raise ScanError(f"{path}: labels of shape {array.shape} for a scan of {grid.shape}")


def _empty(grid: Grid) -> Any:  # noqa: ANN401 - nibabel is untyped
    large = max(grid.shape) > _MOST_NIFTI_1
    header = _nib.Nifti2Header() if large else _nib.Nifti1Header()
    header.set_data_shape(grid.shape)
    return header


def _like(scan: Any, grid: Grid) -> Any:  # noqa: ANN401
    """A header with the geometry of the scan's, field by field."""
    header = _empty(grid)
    with np.errstate(over="ignore"):  # of NIfTI-2, in a form that is not used
        for field in _FORMS:
            header[field] = scan[field]
        header["pixdim"][1:4] = scan["pixdim"][1:4]
    header["pixdim"][0] = -1 if scan["pixdim"][0] < 0 else 1
    for field in ("sform_code", "qform_code"):
        header[field] = _code(int(scan[field]))
    header["xyzt_units"] = _units(int(scan["xyzt_units"]))
    if _lies_on(header, grid):
        return header
    return _new(grid, _code(int(scan["sform_code"])) or _code(int(scan["qform_code"])))


def _code(said: int) -> int:
    """Of a form: 0 where it is not set; nibabel takes codes it does not know as not set."""
    return said if said in _KNOWN_CODES else _ALIGNED if said > 0 else 0


def _units(said: int) -> int:
    """Reserved ones are read as millimetres, and nibabel does not read them at all."""
    spatial, time = said % 8, said - said % 8
    spatial = spatial if spatial in _SPATIAL_UNITS else _MILLIMETRES
    return spatial + (time if time in _TIME_UNITS else 0)


@np.errstate(over="ignore", invalid="ignore")  # in forms that nibabel reads as nonsense
def _lies_on(header: Any, grid: Grid) -> bool:  # noqa: ANN401
    """Whether nibabel reads this header, and on this grid."""
    try:
        affine = header.get_best_affine()
    except (HeaderDataError, ValueError):
        return False
    affine[:3] *= millimetres(header)
    return bool(np.isfinite(affine).all()) and Grid(grid.shape, affine).same_as(grid, _SAME)


def _new(grid: Grid, code: int = _ALIGNED) -> Any:  # noqa: ANN401
    """A header for a grid: sform, pixdim and, but for sheared axes, a qform that is the same."""
    header = _empty(grid)
    header.set_xyzt_units("mm")
    header.set_qform(grid.affine, code or _ALIGNED)  # sets pixdim, too
    if not _lies_on(header, grid):
        header["qform_code"] = 0
    header.set_sform(grid.affine, code or _ALIGNED)
    return header


def _save(path: Path, array: NDArray[Any], header: Any) -> None:  # noqa: ANN401
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    planes = (plane.tobytes() for plane in contiguous(array.T))  # the first axis is the fastest
    packed = path.name.lower().endswith(".gz")
    write_bytes(path, chain([_header_bytes(header)], planes), packed=packed)


def _header_bytes(header: Any) -> bytes:  # noqa: ANN401
    """Up to where the voxels begin."""
    stream = BytesIO()
    header.write_to(stream)
    return stream.getvalue()
