"""Intensities brought to a common scale, in place: scans are large."""

import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-8
_PART = 2**20  # voxels


def normalise_ct(
    channel: NDArray[np.float32], lower: float, upper: float, mean: float, std: float
) -> NDArray[np.float32]:
    """Clip to the dataset's percentiles, then its global z-score (nnU-Net's "CT"), in place.

    Args:
        channel: (D, H, W), Hounsfield units.
        lower: 0.5 percentile of the foreground of all training cases.
        upper: 99.5 percentile.
        mean: of that foreground.
        std: of that foreground.
    """
    np.clip(channel, lower, upper, out=channel)
    channel -= np.float32(mean)
    channel /= np.float32(max(std, _EPSILON))
    return channel


def normalise_z_score(
    channel: NDArray[np.float32], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Zero mean and unit standard deviation of this image (nnU-Net's "nonCT"), in place.

    Args:
        channel: (D, H, W).
        mask: where statistics are taken; outside the result is 0. None takes every voxel.
    """
    inside = channel if mask is None else channel[mask]
    mean = inside.mean(dtype=np.float64)
    scale = _deviation(inside, float(mean)) + _EPSILON
    channel -= np.float32(mean)
    channel /= np.float32(scale)
    if mask is not None:
        channel[~mask] = 0
    return channel


def rescale(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image's own range mapped to 0..1 (nnU-Net's "rescale_to_0_1"), in place."""
    low, high = float(channel.min()), float(channel.max())
    channel -= np.float32(low)
    channel /= np.float32(max(high - low, _EPSILON))
    return channel


def _deviation(values: NDArray[np.float32], mean: float) -> float:
    """`numpy.std` in float64, a part at a time: it takes 8 bytes a voxel otherwise."""
    flat, squares = values.reshape(-1), 0.0
    for start in range(0, flat.size, _PART):
        away = flat[start : start + _PART].astype(np.float64) - mean
        squares += float(away @ away)
    return float(np.sqrt(squares / flat.size))
