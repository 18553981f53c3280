"""Where the voxels of a NIfTI file lie: sform, qform or neither, in millimetres.

The sform is taken before the qform, as nibabel does; a form whose code is not above 0 is not set,
and one that describes no grid is passed over where there is another.
"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import check_spacing, describes_grid
from mednext_cli.volumes.volume import SAME_GRID, Affine, Grid, Shape

_quat2mat: Any = nibabel.quaternions.quat2mat
_SPATIAL_UNIT = 7  # bits of xyzt_units
_METRE, _MICRON = 1, 3  # 0 is unknown, 2 mm; the others are reserved
_UNITS = {_METRE: ("metres", 1e3), _MICRON: ("microns", 1e-3)}
_EXCESS = 1e-3  # a quaternion's squares may sum up to so much more than 1, by rounding
_HALF_TURN = 3 * float(np.finfo(np.float32).eps)
_SKEW = 1e-3  # cosine between axes that are not at right angles


def millimetres(header: Any) -> float:  # noqa: ANN401 - nibabel is untyped
    """What one unit of the header's lengths is; an unknown or reserved unit is a millimetre."""
    return _UNITS.get(int(header["xyzt_units"]) & _SPATIAL_UNIT, ("", 1.0))[1]


@np.errstate(over="ignore", invalid="ignore")  # what comes of it describes no grid
def find_affine(path: Path, header: Any, shape: Shape) -> tuple[Affine, tuple[str, ...]]:  # noqa: ANN401
    """The affine (mm, RAS), and what is odd about it, a line each.

    Args:
        path: for messages.
        header: as it is in the file; nibabel's checks repair too much.
        shape: of the first three axes.

    Raises:
        ScanError: a spacing that is not above 0; no form that describes a grid.
    """
    scale = millimetres(header)
    zooms = np.asarray(header["pixdim"][1:4], dtype=np.float64) * scale
    check_spacing(path, zooms.tolist())
    affine, notes = _choose(path, header, shape, scale)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if bool((np.abs(zooms - lengths) * shape > SAME_GRID * lengths).any()):
        notes.append(
            f"pixdim says {_times(zooms)} mm, the sform {_times(lengths)} mm; the sform is used "
            "(ITK and Slicer take pixdim)"
        )
    if unit := _UNITS.get(int(header["xyzt_units"]) & _SPATIAL_UNIT):
        notes.append(f"its header measures in {unit[0]}, which are converted to mm")
    notes += _shear(affine)
    return affine, tuple(f"{path.name}: {note}" for note in notes)


def _choose(path: Path, header: Any, shape: Shape, scale: float) -> tuple[Affine, list[str]]:  # noqa: ANN401
    sform = _sform(header, scale) if int(header["sform_code"]) > 0 else None
    qform = _qform(header, scale) if int(header["qform_code"]) > 0 else None
    if sform is None and qform is None:
        base = _scaled(header.get_base_affine(), scale)
        return base, ["neither sform nor qform is set: which side is left is a guess"]
    good_s, good_q = (form is not None and describes_grid(form) for form in (sform, qform))
    if sform is not None and good_s:
        return sform, _against(qform, good_q, Grid(shape, sform))
    if qform is not None and good_q:
        return qform, [] if sform is None else ["the sform describes no grid; the qform is used"]
    if sform is not None:
        check_spacing(path, np.linalg.norm(sform[:3, :3], axis=0).tolist())
    raise ScanError(
        f"{path} has an affine that describes no grid", "Correct the sform or the qform."
    )


def _against(qform: Affine | None, good: bool, grid: Grid) -> list[str]:
    """What is to be said of a qform beside a good sform."""
    if qform is None:
        return []
    if not good:
        return ["the qform describes no rotation; the sform is used"]
    if not Grid(grid.shape, qform).same_as(grid):
        return ["sform and qform disagree; the sform is used"]
    return []


def _sform(header: Any, scale: float) -> Affine:  # noqa: ANN401
    rows = [header["srow_x"], header["srow_y"], header["srow_z"], (0, 0, 0, 1)]
    return _scaled(np.array(rows, dtype=np.float64), scale)


def _qform(header: Any, scale: float) -> Affine:  # noqa: ANN401
    """Made of NaN where the quaternion is none.

    Unlike nibabel's, which raises where rounding brought the squares to a little more than 1.
    """
    vector = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    excess = float(vector @ vector) - 1
    if not excess <= _EXCESS:  # or NaN
        return np.full((4, 4), np.nan)
    # Near a half turn the first number is the root of a rounding error: 0, as nibabel has it.
    first = 0.0 if excess > -_HALF_TURN else np.sqrt(-excess)
    rotation = _quat2mat([first, *vector])
    zooms = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    zooms[2] *= -1 if header["pixdim"][0] < 0 else 1
    affine = np.eye(4)
    affine[:3, :3] = rotation * zooms
    affine[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return _scaled(affine, scale)


def _scaled(affine: Affine, scale: float) -> Affine:
    made = np.array(affine, dtype=np.float64)
    made[:3] *= scale
    return made


def _shear(affine: Affine) -> list[str]:
    units = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    skew = np.abs(units.T @ units - np.eye(3)).max()
    if skew <= _SKEW:
        return []
    angle = np.degrees(np.arcsin(min(float(skew), 1.0)))
    return [
        f"the axes are sheared by {angle:.1f} degrees; it is resampled as if they were at right "
        "angles"
    ]


def _times(lengths: NDArray[np.float64]) -> str:
    return " x ".join(f"{length:.4g}" for length in lengths)
