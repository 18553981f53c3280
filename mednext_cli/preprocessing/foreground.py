"""Voxels to centre patches on, sampled once and kept in the cache."""

import numpy as np
from numpy.typing import NDArray

_MOST, _LEAST_SHARE = 10_000, 0.01  # nnU-Net's
_SEED = 1234


def sample_foreground(
    label: NDArray[np.uint8], ignore_index: int | None
) -> dict[int, NDArray[np.uint16]]:
    """For each class index present, at most 10,000 of its voxels (n, 3), but at least 1 %.

    Args:
        label: (D, H, W) class indices.
        ignore_index: class index nobody trains on.
    """
    flat = label.reshape(-1)
    foreground = np.flatnonzero(flat)
    classes = flat[foreground]
    found: dict[int, NDArray[np.uint16]] = {}
    for index in np.unique(classes):
        if index == ignore_index:
            continue
        voxels = foreground[classes == index]
        count = min(len(voxels), max(_MOST, int(np.ceil(_LEAST_SHARE * len(voxels)))))
        chosen = np.random.default_rng(_SEED).choice(len(voxels), count, replace=False)
        where = np.unravel_index(voxels[np.sort(chosen)], label.shape)
        found[int(index)] = np.stack(where, axis=1).astype(np.uint16)
    return found
