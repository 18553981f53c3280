"""NIfTI files: read with the checks a user needs, written whole or not at all."""

import gzip
import logging
import zlib
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.foundation.files import replacing
from mednext_cli.volumes.checks import check_affine, check_spacing, whole_numbers
from mednext_cli.volumes.volume import Affine, Grid, Volume

_nib: Any = nibabel  # untyped
_nib.imageglobals.logger.setLevel(logging.CRITICAL)  # what it notes is checked here
_UNREADABLE = (
    ImageFileError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    HeaderDataError,
)
_GZIP_MOST = 1032  # deflate packs no more bytes into one
_MOVED = 0.1  # of a voxel: where sform and qform are said to disagree
_SKEW = 1e-3  # cosine between axes that are not at right angles


def read_grid(path: Path, index: int | None = None) -> Grid:
    """Shape and affine of a scan, from its header alone.

    Raises:
        ScanError: as `read_volume`, as far as the header tells.
    """
    return _grid(path, _open(path), index)


def read_volume(path: Path, index: int | None = None) -> Volume:
    """A scan as float32, its scaling applied, in the file's own axis order.

    Args:
        path: a NIfTI file.
        index: which volume of a 4D file to take; None for a 3D file.

    Raises:
        ScanError: missing, unreadable or truncated; colour; 4D without an index, or without that
            volume; spacing or affine that describe no grid.
    """
    image = _open(path)
    grid = _grid(path, image, index)
    with np.errstate(over="ignore"):  # becomes infinite, which is checked where it matters
        voxels = _voxels(path, image, index, np.float32).astype(np.float32, copy=False)
    return Volume(voxels, grid.affine)


def read_label_map(path: Path) -> Volume:
    """A label map as integers (the smallest type that holds them), in the file's own axis order.

    Raises:
        ScanError: as `read_volume`; or values that are not whole numbers from 0 to 65535.
    """
    image = _open(path)
    grid = _grid(path, image, None)
    return Volume(whole_numbers(path, _voxels(path, image, None, None)), grid.affine)


def _open(path: Path) -> Any:  # noqa: ANN401 - nibabel is untyped
    if not _is_file(path):
        raise ScanError(f"{path} does not exist", "Check the path, or download the file again.")
    try:
        with path.open("rb"):  # nibabel calls a file that may not be read damaged
            pass
        image = _nib.load(path)
        declared = _declared_spacing(path, image)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    check_spacing(path, declared)
    return image


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system
        return False


def _declared_spacing(path: Path, image: Any) -> list[float]:  # noqa: ANN401
    """What the header says; nibabel silently turns 0 into 1 and takes away a minus."""
    if not isinstance(image, _nib.Nifti1Image):
        return [float(zoom) for zoom in image.header.get_zooms()[:3]]
    with _nib.openers.ImageOpener(path) as stream:
        header = type(image.header).from_fileobj(stream, check=False)
    return [float(zoom) for zoom in header["pixdim"][1:4]]


def _unreadable(path: Path, error: Exception) -> ScanError:
    if isinstance(error, PermissionError):
        return ScanError(f"{path} cannot be read: permission denied", "Ask its owner for access.")
    return ScanError(f"{path} is damaged, cut off or no NIfTI file", "Download or copy it again.")


def _grid(path: Path, image: Any, index: int | None) -> Grid:  # noqa: ANN401
    shape = tuple(int(length) for length in image.shape)
    try:
        dtype = image.get_data_dtype()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if dtype.fields is not None:
        raise ScanError(f"{path} is a colour image", "Convert it to one intensity per voxel.")
    if np.issubdtype(dtype, np.complexfloating):
        raise ScanError(f"{path} is complex-valued", "Save its magnitude.")
    if index is None:
        shape = _without_trailing_ones(shape)
    elif len(shape) == 4 and not 0 <= index < shape[3]:
        raise ScanError(
            f"{path} holds {shape[3]} volumes, volume {index + 1} is missing",
            "Check the channels that dataset.json lists.",
        )
    spatial = shape[:3] if index is not None else shape
    if len(spatial) != 3 or (index is not None and len(shape) != 4) or min(shape) < 1:
        text = " x ".join(map(str, shape))
        wanted = "3D" if index is None else "4D"
        raise ScanError(
            f"{path} is not {wanted}: its shape is {text}",
            "Split it into one 3D file a channel." if len(shape) > 3 else "Check the file.",
        )
    _check_size(path, prod(shape) * dtype.itemsize)
    affine = check_affine(path, np.asarray(image.affine, dtype=np.float64))
    return Grid((spatial[0], spatial[1], spatial[2]), affine)


def _check_size(path: Path, claimed: int) -> None:
    """Refuse a header that claims more than its file can hold, before memory is asked for it."""
    if not path.name.endswith((".nii", ".nii.gz")):  # voxels elsewhere, or packed without limit
        return
    size = path.stat().st_size
    if claimed > size * (_GZIP_MOST if path.suffix == ".gz" else 1):
        raise ScanError(
            f"{path} is damaged: its header claims {claimed / 2**30:.3g} GiB of voxels, the file "
            f"has {size} bytes",
            "Download or copy it again.",
        )


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Many tools write a 3D scan as 4D with one volume."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _voxels(
    path: Path,
    image: Any,  # noqa: ANN401
    index: int | None,
    scaled_as: type[np.floating[Any]] | None,
) -> NDArray[Any]:
    """The voxels with their scaling applied, in `scaled_as` (default double) where there is one."""
    try:
        # nibabel stops at the last voxel and never sees a gzip's checksum; decompressing does.
        if path.suffix == ".gz" and isinstance(image, _nib.Nifti1Image):
            content = gzip.decompress(path.read_bytes())
            if len(content) < prod(image.shape) * image.get_data_dtype().itemsize:
                raise EOFError
            image = type(image).from_bytes(content)
        proxy = image.dataobj
        if index is not None:
            values = np.asarray(proxy[..., index])
        else:
            values = np.asarray(proxy, dtype=scaled_as)  # None: double, where there is scaling
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    return values if index is not None else values.reshape(values.shape[:3])


def write_label_map(path: Path, array: NDArray[Any], like: Path) -> None:
    """Write labels on the grid of a scan, with its affine, form codes and units.

    Args:
        path: the file to write (.nii or .nii.gz).
        array: label values in the axis order of `like`.
        like: the scan; only its header is read.

    Raises:
        ScanError: `array` has another shape than the scan. StorageError: the disk refuses.
    """
    scan = _open(like)
    grid = _grid(like, scan, None if len(_without_trailing_ones(scan.shape)) == 3 else 0)
    if array.shape != grid.shape:
        raise ScanError(f"{path}: labels of shape {array.shape} for a scan of {grid.shape}")
    dtype = np.uint8 if array.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16
    image = _nib.Nifti1Image(array.astype(dtype), None)
    for get, put in (("get_sform", image.set_sform), ("get_qform", image.set_qform)):
        if not hasattr(scan.header, get):
            continue
        form, code = getattr(scan, get)(coded=True)
        if code:
            put(form, int(code))
    if not np.allclose(image.affine, grid.affine, atol=1e-4):
        image.set_sform(grid.affine, 2)
    if hasattr(scan.header, "get_xyzt_units"):
        image.header.set_xyzt_units(*scan.header.get_xyzt_units())
    _save(path, image)


def write_labels_on(path: Path, array: NDArray[Any], grid: Grid) -> None:
    """Write labels on a grid, which a scan of another format has.

    Raises:
        ScanError: `array` has another shape than the grid. StorageError: the disk refuses.
    """
    if array.shape != grid.shape:
        raise ScanError(f"{path}: labels of shape {array.shape} for a scan of {grid.shape}")
    dtype = np.uint8 if array.max(initial=0) <= np.iinfo(np.uint8).max else np.uint16
    write_volume(path, array.astype(dtype), grid.affine)


def geometry_notes(path: Path) -> tuple[str, ...]:
    """What is odd about where a scan lies, though it can be used; a line each.

    Raises:
        ScanError: as `read_grid`.
    """
    image = _open(path)
    grid = _grid(path, image, 0 if len(_without_trailing_ones(image.shape)) == 4 else None)
    notes = []
    if _forms_differ(image, grid):
        notes.append(f"{path.name}: sform and qform disagree; the sform is used")
    units = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    skew = np.abs(units.T @ units - np.eye(3)).max()
    if skew > _SKEW:
        angle = np.degrees(np.arcsin(min(float(skew), 1.0)))
        notes.append(
            f"{path.name}: the axes are sheared by {angle:.1f} degrees; it is resampled as if they "
            "were at right angles"
        )
    return tuple(notes)


def _forms_differ(image: Any, grid: Grid) -> bool:  # noqa: ANN401
    """Whether both forms are set and put a corner of the scan in two places."""
    if not isinstance(image, _nib.Nifti1Image):
        return False
    (sform, scode), (qform, qcode) = (image.get_sform(coded=True), image.get_qform(coded=True))
    if not (scode and qcode) or qform is None:
        return False
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in grid.shape))])
    moved = np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max()
    return bool(moved > _MOVED * min(grid.spacing_mm))


def write_volume(path: Path, array: NDArray[Any], affine: Affine) -> None:
    """Write a 3D array with its affine (mm, RAS).

    Raises:
        StorageError: the disk refuses.
    """
    image = _nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    _save(path, image)


def _save(path: Path, image: Any) -> None:  # noqa: ANN401
    with replacing(path) as beside:
        _nib.save(image, beside)
