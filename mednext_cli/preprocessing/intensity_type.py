"""The type in which prepared intensities are kept: what it holds, and bringing them into it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache.description import StoredType
from mednext_cli.datasets.dataset import Channel
from mednext_cli.foundation.errors import ScanError
from mednext_cli.settings.plan import ChannelNormalisation, Plan

_BATCH = 2**20  # voxels


def check_intensities(
    image: NDArray[np.float32], channels: tuple[Channel, ...], plan: Plan, stored_type: StoredType
) -> None:
    """Refuse an image of which the network would see a constant, or infinities.

    Args:
        image: (C, D, H, W), as the network gets it but for that type.
        channels: the scans it was made of.
        plan: tells how.
        stored_type: in which it is kept.

    Raises:
        ScanError: a channel is constant, or its type does not hold it; names its scan and why.
    """
    largest = float(np.finfo(stored_type).max)
    for values, channel, settings in zip(image, channels, plan.normalisation, strict=True):
        low, high = values.min(), values.max()
        if not low < high:
            raise _constant(channel, *_reason(values, settings))
        if high > largest or low < -largest:
            raise ScanError(
                f"{channel.path} has intensities above {largest:g}, too large for {stored_type}",
                "Add --dtype float32.",
            )
        if not low.astype(stored_type) < high.astype(stored_type):  # rounding keeps the order
            raise _constant(channel, f"rounded to {stored_type}", "Add --dtype float32.")


def _constant(channel: Channel, reason: str, remedy: str) -> ScanError:
    return ScanError(f"{channel.path} is constant once it is {reason}", remedy)


def _reason(values: NDArray[np.float32], settings: ChannelNormalisation) -> tuple[str, str]:
    """What made a channel constant, and what to do about it."""
    if values.size == 1:
        return "resampled: one voxel is left", "Check its size, spacing and unit."
    if settings.scheme == "ct":
        return (
            f"clipped to {settings.lower:g}..{settings.upper:g}",
            "Check that the scan is a CT in Hounsfield units.",
        )
    return (
        "cropped, resampled and normalised",
        "Check the scan: outside of zero it has one intensity, or nearly so.",
    )


def stored_as(image: NDArray[np.float32], stored_type: StoredType) -> NDArray[np.floating[Any]]:
    """The voxels in another type; uses up `image`, which is contiguous."""
    if stored_type == "float32":
        return image
    # In the image's own memory: a half is written where a float, already read, was.
    halves = image.reshape(-1).view(np.float16)[: image.size]
    flat = image.reshape(-1)
    for start in range(0, image.size, _BATCH):
        halves[start : start + _BATCH] = flat[start : start + _BATCH].astype(np.float16)
    return halves.reshape(image.shape)
