"""What every file format is held to: a grid that is one, labels that are whole numbers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.volume import Affine

_SMALLEST_SPACING_MM = 1e-6
_FLATTEST = 1e-3  # volume that the three unit axes span; 1 where they are at right angles


def check_spacing(path: Path, spacing_mm: Iterable[float]) -> None:
    """Raise `ScanError` unless every spacing is above 0."""
    lengths = list(spacing_mm)
    if not all(np.isfinite(length) and length >= _SMALLEST_SPACING_MM for length in lengths):
        raise ScanError(
            f"{path} has a spacing of {' x '.join(f'{length:g}' for length in lengths)} mm",
            "Correct the header: every spacing must be above 0.",
        )


def check_affine(path: Path, affine: Affine) -> Affine:
    """The affine, if it describes a grid.

    Raises:
        ScanError: a spacing of 0, axes in one plane, or entries that are not finite.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    check_spacing(path, lengths.tolist())
    flat = abs(np.linalg.det(affine[:3, :3] / lengths)) < _FLATTEST
    if flat or not np.isfinite(affine).all():
        raise ScanError(
            f"{path} has an affine that describes no grid", "Correct the sform or the qform."
        )
    return affine


def whole_numbers(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Label values as the smallest unsigned type that holds them.

    Raises:
        ScanError: values that are not whole numbers from 0 to 65535.
    """
    if not np.issubdtype(values.dtype, np.integer):
        rounded = np.rint(values)
        wrong = ~(np.isfinite(values) & (rounded == values))
        if wrong.any():
            raise ScanError(
                f"{path}: a label map with the value {values[wrong].flat[0]}, which is not a whole "
                f"number ({np.count_nonzero(wrong)} voxels)",
                "Save it with nearest-neighbour interpolation, as integers.",
            )
        values = rounded
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ScanError(
            f"{path}: a label map with the value {int(low if low < 0 else high)}",
            "Labels are whole numbers from 0 to 65535.",
        )
    return values.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
