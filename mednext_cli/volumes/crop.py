"""The box of a scan that holds something."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def nonzero_mask(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels where any channel of (C, D, H, W) is not zero, with holes inside filled.

    Source: ``create_nonzero_mask`` of nnU-Net v1.
    """
    from scipy.ndimage import binary_fill_holes

    mask = np.any(image != 0, axis=0)
    if mask.all():
        return mask
    filled: NDArray[np.bool_] = binary_fill_holes(mask)
    return filled


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Start and stop of the smallest box around the mask; the whole grid where it is empty."""
    if not mask.any():
        return tuple((0, length) for length in mask.shape)  # type: ignore[return-value]
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(mask.any(axis=others))
        bounds.append((int(where[0]), int(where[-1]) + 1))
    return bounds[0], bounds[1], bounds[2]


def slices_of(box: Box) -> tuple[slice, slice, slice]:
    """The box as an index of (D, H, W)."""
    return slice(*box[0]), slice(*box[1]), slice(*box[2])
