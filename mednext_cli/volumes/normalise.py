"""Intensities brought to a common scale."""

import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-8


def normalise_ct(
    channel: NDArray[np.float32], lower: float, upper: float, mean: float, std: float
) -> NDArray[np.float32]:
    """Clip to the dataset's percentiles, then its global z-score (nnU-Net's "CT").

    Args:
        channel: (D, H, W), Hounsfield units.
        lower: 0.5 percentile of the foreground of all training cases.
        upper: 99.5 percentile.
        mean: of that foreground.
        std: of that foreground.
    """
    clipped = np.clip(channel, lower, upper)
    clipped -= np.float32(mean)
    clipped /= np.float32(max(std, _EPSILON))
    return clipped


def normalise_z_score(
    channel: NDArray[np.float32], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Zero mean and unit standard deviation of this image (nnU-Net's "nonCT").

    Args:
        channel: (D, H, W).
        mask: where statistics are taken; outside the result is 0. None takes every voxel.
    """
    inside = channel if mask is None else channel[mask]
    mean = inside.mean(dtype=np.float64)
    scale = inside.std(dtype=np.float64) + _EPSILON
    result = ((channel - np.float32(mean)) / np.float32(scale)).astype(np.float32, copy=False)
    if mask is not None:
        result[~mask] = 0
    return result


def rescale(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image's own range mapped to 0..1 (nnU-Net's "rescale_to_0_1")."""
    low, high = float(channel.min()), float(channel.max())
    shifted = channel - np.float32(low)
    shifted /= np.float32(max(high - low, _EPSILON))
    return shifted
