"""What every file format is held to: a grid that is one, labels that are whole numbers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.volume import Affine

_SMALLEST_SPACING_MM = 1e-6
_FURTHEST_MM = 1e7
_SINGLE = 4 * float(np.finfo(np.float32).eps)
_FLATTEST = 1e-3  # volume that the three unit axes span; 1 where they are at right angles


def check_spacing(path: Path, spacing_mm: Iterable[float]) -> None:
    """Raise `ScanError` unless every spacing is above 0."""
    lengths = list(spacing_mm)
    if not all(np.isfinite(length) and length >= _SMALLEST_SPACING_MM for length in lengths):
        raise ScanError(
            f"{path} has a spacing of {' x '.join(f'{length:g}' for length in lengths)} mm",
            "Correct the header: every spacing must be above 0.",
        )


def is_file(path: Path) -> bool:
    """Whether there is such a file; also where the name is too long for there to be one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; also where the name is too long for there to be one."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def describes_grid(affine: Affine) -> bool:
    """Whether an affine is finite, its spacings are above 0 and its axes not in one plane."""
    if not (np.abs(affine) <= _FURTHEST_MM).all():  # NaN is not, either
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(lengths).all() and (lengths >= _SMALLEST_SPACING_MM).all()):
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) >= _FLATTEST)


@np.errstate(over="ignore", invalid="ignore")
def check_affine(path: Path, affine: Affine) -> Affine:
    """The affine, if it describes a grid.

    Raises:
        ScanError: a spacing of 0, axes in one plane, or entries that are not finite.
    """
    check_spacing(path, np.linalg.norm(affine[:3, :3], axis=0).tolist())
    if not describes_grid(affine):
        raise ScanError(
            f"{path} has an affine that describes no grid", "Correct the sform or the qform."
        )
    return affine


def whole_numbers(
    path: Path, values: NDArray[Any], error: float = 0.0
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Label values as the smallest unsigned type that holds them, and a note if any was rounded.

    Args:
        path: for messages.
        values: (X, Y, Z), of any type.
        error: how far a value may be from its label by the way it was stored; single precision's
            own is allowed on top.

    Raises:
        ScanError: values that are not whole numbers from 0 to 65535.
    """
    notes: tuple[str, ...] = ()
    if not np.issubdtype(values.dtype, np.integer):
        furthest = _check_whole(path, values, error)
        if furthest > 0:
            notes = (f"{path.name}: values up to {furthest:.2g} beside a whole number are rounded",)
    low, high = (int(np.rint(bound)) for bound in (values.min(initial=0), values.max(initial=0)))
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ScanError(
            f"{path}: a label map with the value {low if low < 0 else high}",
            "Labels are whole numbers from 0 to 65535.",
        )
    kind = np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16
    if not notes:
        return values.astype(kind), ()
    made = np.empty(values.shape, dtype=kind, order="F")
    for index in range(values.shape[-1]):
        made[..., index] = np.rint(values[..., index])
    return made, notes


def _check_whole(path: Path, values: NDArray[Any], error: float) -> float:
    """The furthest that a value is from a whole number; raises where that is too far."""
    furthest, wrong, example = 0.0, 0, None
    for index in range(values.shape[-1]):  # masks of the whole would take several times its memory
        plane = values[..., index].astype(np.float64)
        with np.errstate(invalid="ignore"):
            away = np.abs(plane - np.rint(plane))
        bad = ~(away <= error + _SINGLE * np.abs(plane))  # NaN is bad, too
        if bad.any():
            example = plane[bad].flat[0] if example is None else example
            wrong += int(np.count_nonzero(bad))
        furthest = max(furthest, float(away.max(initial=0)))
    if wrong:
        raise ScanError(
            f"{path}: a label map with the value {example}, which is not a whole number "
            f"({wrong} voxels)",
            "Save it with nearest-neighbour interpolation, as integers.",
        )
    return furthest
