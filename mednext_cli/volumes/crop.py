"""The box of a scan that holds something."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def nonzero_mask(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Voxels (D, H, W) where any channel of (C, D, H, W) is not zero."""
    mask: NDArray[np.bool_] = image[0] != 0
    for channel in image[1:]:
        mask |= channel != 0
    return mask


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with what it encloses, as ``create_nonzero_mask`` of nnU-Net v1 has it.

    Its box is that of the mask, so cropping need not wait for this.
    """
    from scipy.ndimage import binary_fill_holes

    if mask.all():
        return mask
    filled: NDArray[np.bool_] = np.asarray(binary_fill_holes(mask), dtype=np.bool_)
    return filled


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Start and stop of the smallest box around the mask; the whole grid where it is empty."""
    if not mask.any():
        depth, height, width = mask.shape
        return (0, depth), (0, height), (0, width)
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        extent = extent_of(np.asarray(mask.any(axis=others)))
        bounds.append((extent.start, extent.stop))
    return bounds[0], bounds[1], bounds[2]


def extent_of(occupied: NDArray[np.bool_]) -> slice:
    """From the first to the last place of an axis that is occupied; empty where none is."""
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def slices_of(box: Box) -> tuple[slice, slice, slice]:
    """The box as an index of (D, H, W)."""
    return slice(*box[0]), slice(*box[1]), slice(*box[2])
