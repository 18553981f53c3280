"""Where the tiles of a sliding window lie, and how much each of their voxels counts."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

_SIGMA = 1 / 8  # of the patch, nnU-Net
_MAXIMUM = 10.0


def window_starts(
    image_shape: Sequence[int], patch_voxels: Sequence[int], overlap: float = 0.5
) -> list[list[int]]:
    """First voxel of each tile along each axis, evenly spread (nnU-Net).

    Args:
        image_shape: (D, H, W), nowhere smaller than the patch.
        patch_voxels: (D, H, W).
        overlap: share of a tile that the next one covers at least; up to `LARGEST_OVERLAP`.
    """
    return [
        _starts(length, size, overlap)
        for length, size in zip(image_shape, patch_voxels, strict=True)
    ]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    target = size * (1 - overlap) if size > 1 else 1  # slices do not overlap
    count = ceil((length - size) / target) + 1
    step = (length - size) / (count - 1) if count > 1 else 0.0
    return [round(step * index) for index in range(count)]


@lru_cache(maxsize=4)
def gaussian_importance(patch_voxels: tuple[int, int, int]) -> NDArray[np.float32]:
    """Weight of each voxel of a tile: a Gaussian around its centre, at most 10 (nnU-Net).

    Where it rounds to 0 it takes the smallest value above 0, since weights are divided by.

    Args:
        patch_voxels: (D, H, W).
    """
    from scipy.ndimage import gaussian_filter

    peak = np.zeros(patch_voxels, dtype=np.float64)
    peak[tuple(size // 2 for size in patch_voxels)] = 1
    sigmas = [size * _SIGMA for size in patch_voxels]
    weights = gaussian_filter(peak, sigmas, order=0, mode="constant", cval=0)
    weights *= _MAXIMUM / weights.max()
    weights[weights == 0] = weights[weights > 0].min()
    made: NDArray[np.float32] = weights.astype(np.float32)
    return made
