"""How a file stores its voxels, from its header alone: NIfTI-1 and -2, pairs and FreeSurfer's MGH.

Headers are parsed by nibabel without its repairs, which turn a spacing of 0 into 1 and an unknown
form into none, and every field is looked at here before anything is made of it.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_affine, check_spacing, is_file
from mednext_cli.volumes.formats.gzipped import (
    DamagedGzipError,
    most_bytes,
    read_spans,
    read_start,
)
from mednext_cli.volumes.formats.nifti_affine import find_affine
from mednext_cli.volumes.volume import Affine

_nib: Any = nibabel  # untyped
_mgh_header: Any = MGHHeader
_UNREADABLE = (
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    DamagedGzipError,
    ValueError,
    LookupError,
    ArithmeticError,
)
_MGH_BYTES = 90  # of the header's fields; what follows the voxels is not read
_NIFTI_BYTES = 544
_BEGINNINGS = {b"n+1": "Nifti1Header", b"ni1": "Nifti1Header"}
_BEGINNINGS_2 = {b"n+2": "Nifti2Header", b"ni2": "Nifti2Header"}
_PAIRS = (".hdr", ".hdr.gz", ".img", ".img.gz")
_MGH = (".mgh", ".mgz", ".mgh.gz")


@dataclass(frozen=True, eq=False)
class StoredScan:
    """What a header says.

    Attributes:
        path: of the scan, for messages.
        voxels: the file that holds them.
        shape: of all axes, without ones at the end.
        dtype: of a stored value.
        offset: byte at which they begin, inflated.
        scaling: slope and intercept, None where values are meant as they are stored.
        affine: (4, 4), mm, RAS.
        notes: what is odd, though it can be used; a line each.
        header: nibabel's NIfTI header, as it is in the file; None of another format.
    """

    path: Path
    voxels: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float, float] | None
    affine: Affine
    notes: tuple[str, ...]
    header: Any = None

    @property
    def bytes(self) -> int:
        """Of all voxels."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self, indices: Sequence[int | None] = (None,)) -> Iterator[NDArray[Any]]:
        """Values as they are stored, (X, Y, Z) in the file's own axis order.

        Args:
            indices: which volumes of four axes to take; None for that of three.

        Raises:
            ScanError: damaged, cut off, or not to be read; may be noticed at the last one only.
        """
        count = prod(self.shape[:3]) * self.dtype.itemsize
        spans = [(self.offset + (index or 0) * count, count) for index in indices]
        try:  # map holds nothing of what it gives
            yield from map(self._shaped, read_spans(self.voxels, spans, self.offset + self.bytes))
        except _UNREADABLE as error:
            raise unreadable(self.voxels, error) from error

    def _shaped(self, content: NDArray[np.uint8]) -> NDArray[Any]:
        return content.view(self.dtype).reshape(self.shape[:3], order="F")

    def read_first_plane(self) -> NDArray[Any]:
        """The first values along the third axis, (X, Y), as they are stored.

        Raises:
            ScanError: as `read`.
        """
        shape = self.shape[:2]
        end = self.offset + prod(shape) * self.dtype.itemsize
        try:
            content = read_start(self.voxels, end)[self.offset :]
            return np.frombuffer(content, self.dtype).reshape(shape, order="F")
        except _UNREADABLE as error:
            raise unreadable(self.voxels, error) from error


def read_stored(path: Path) -> StoredScan:
    """The header of a scan.

    Raises:
        ScanError: missing or damaged; colour or complex; spacing or affine that describe no grid;
            more voxels than the file can hold.
    """
    if not is_file(path):
        raise ScanError(f"{path} does not exist", "Check the path, or download the file again.")
    try:
        stored = _read_mgh(path) if path.name.lower().endswith(_MGH) else _read_nifti(path)
        most = most_bytes(stored.voxels)
    except ScanError:
        raise
    except _UNREADABLE as error:
        raise unreadable(path, error) from error
    if stored.bytes + stored.offset > most:
        raise ScanError(
            f"{path} is damaged: its header claims {_size(stored.bytes)} of voxels from byte "
            f"{stored.offset} on, the file has {stored.voxels.stat().st_size} bytes",
            "Download or copy it again.",
        )
    return stored


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**20 else f"{count} bytes"


def unreadable(path: Path, error: Exception) -> ScanError:
    """The one line for a file that cannot be read."""
    if isinstance(error, PermissionError):
        return ScanError(f"{path} cannot be read: permission denied", "Ask its owner for access.")
    return ScanError(
        f"{path} is damaged, cut off or no NIfTI file",
        "Download or copy it again.",
    )


def _read_nifti(path: Path) -> StoredScan:
    header_file, voxels = _files(path)
    header = _parse(path, read_start(header_file, _NIFTI_BYTES))
    shape = _shape(path, header.get_data_shape())
    dtype = _dtype(path, header.get_data_dtype())
    offset, notes = _offset(path, header, alone=header_file == voxels)
    affine, more = find_affine(path, header, (shape[0], shape[1], shape[2]))
    scaling = _scaling(path, float(header["scl_slope"]), float(header["scl_inter"]))
    return StoredScan(path, voxels, shape, dtype, offset, scaling, affine, (*notes, *more), header)


def _files(path: Path) -> tuple[Path, Path]:
    """The files of header and voxels: one, or the two of a pair."""
    name = path.name
    ending = max(
        (suffix for suffix in _PAIRS if name.lower().endswith(suffix)), key=len, default=""
    )
    if not ending:
        return path, path
    stem = name[: -len(ending)]
    found = {partner.name.lower(): partner for partner in _partners(path.parent, stem)}
    files = [
        next(
            (found[stem.lower() + suffix] for suffix in kind if stem.lower() + suffix in found),
            None,
        )
        for kind in (_PAIRS[:2], _PAIRS[2:])
    ]
    if files[0] is None or files[1] is None:
        missing = f"{stem}.hdr" if files[0] is None else f"{stem}.img"
        raise ScanError(f"{path} is half of a pair: {missing} is not there", "Copy both files.")
    return files[0], files[1]


def _partners(folder: Path, stem: str) -> list[Path]:
    names = [stem + change(suffix) for suffix in _PAIRS for change in (str.lower, str.upper)]
    return [folder / name for name in names if is_file(folder / name)]


def _parse(path: Path, start: bytes) -> Any:  # noqa: ANN401
    kind = _BEGINNINGS.get(start[344:347]) or _BEGINNINGS_2.get(start[4:7])
    if kind is None:
        if path.name.lower().endswith(_PAIRS):
            raise ScanError(
                f"{path} is no NIfTI file, but perhaps Analyze, which does not say left from right",
                "Convert it to .nii.gz with the tool that made it.",
            )
        raise unreadable(path, ValueError())
    header_type = getattr(_nib, kind)
    size = header_type.template_dtype.itemsize
    orders = {struct.pack(f"{order}i", size): order for order in "<>"}
    return header_type(start[:size], orders.get(start[:4]), check=False)


def _shape(path: Path, found: tuple[Any, ...]) -> tuple[int, ...]:
    """The axes in use: many tools write a 3D scan as 4D with one volume, ITK channels as 5D."""
    shape = [int(length) for length in found]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 5 and shape[3] == 1:
        del shape[3]
    if len(shape) not in (3, 4) or min(shape) < 1:
        text = " x ".join(map(str, shape))
        raise ScanError(
            f"{path} is not 3D: its shape is {text}",
            "Split it into one 3D file a channel." if len(shape) > 3 else "Check the file.",
        )
    return tuple(shape)


def _dtype(path: Path, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.fields is not None:
        raise ScanError(f"{path} is a colour image", "Convert it to one intensity per voxel.")
    if dtype.kind == "c":
        raise ScanError(f"{path} is complex-valued", "Save its magnitude.")
    if dtype.kind not in "iuf":
        raise ScanError(f"{path} stores single bits or an unknown type", "Save it as integers.")
    return dtype


def _offset(path: Path, header: Any, alone: bool) -> tuple[int, tuple[str, ...]]:  # noqa: ANN401
    """Where voxels begin; behind the header, whatever it says."""
    said = float(header["vox_offset"])
    if not (isfinite(said) and said >= 0):
        raise ScanError(f"{path} is damaged: its vox_offset is {said:g}", "Copy it again.")
    least = int(header.single_vox_offset) if alone else 0
    if said >= least:
        return int(said), ()
    note = f"{path.name}: vox_offset is {said:g}, within the header; voxels are taken from {least}"
    return least, (note,)


def _scaling(path: Path, slope: float, inter: float) -> tuple[float, float] | None:
    """None where there is none: the standard's slope of 0, and what is no number."""
    if slope == 0 or not isfinite(slope) or (slope, inter) == (1, 0):
        return None
    if not isfinite(inter):
        raise ScanError(f"{path} has an intercept (scl_inter) of {inter}", "Correct the header.")
    return slope, inter


@np.errstate(over="ignore", invalid="ignore")  # what comes of it describes no grid
def _read_mgh(path: Path) -> StoredScan:
    header = _mgh_header(read_start(path, _MGH_BYTES), check=False)
    if int(header["version"]) != 1:
        raise unreadable(path, ValueError())
    shape = _shape(path, tuple(header["dims"]))
    dtype = _dtype(path, header.get_data_dtype())
    check_spacing(path, header["delta"].tolist())
    affine = check_affine(path, np.asarray(header.get_affine(), dtype=np.float64))
    return StoredScan(path, path, shape, dtype, DATA_OFFSET, None, affine, ())
