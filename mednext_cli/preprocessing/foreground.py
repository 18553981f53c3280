"""Voxels to centre patches on, sampled once and kept in the cache."""

import numpy as np
from numpy.typing import NDArray

_MOST, _LEAST_SHARE = 10_000, 0.01
_SEED = 1234


def sample_foreground(
    label: NDArray[np.uint8], ignore_index: int | None
) -> dict[int, NDArray[np.unsignedinteger]]:
    """For each class index present, 10,000 of its voxels (n, 3), at least 1 %, or all of fewer.

    Numbers and random generator are nnU-Net's (``class_locations``).

    Args:
        label: (D, H, W) class indices.
        ignore_index: class index nobody trains on.
    """
    random = np.random.RandomState(_SEED)
    foreground = _flat_foreground(label)
    classes = label.reshape(-1)[foreground]
    found: dict[int, NDArray[np.unsignedinteger]] = {}
    for index in np.flatnonzero(np.bincount(classes)):
        if index == ignore_index:
            continue
        found[int(index)] = _sample(foreground[classes == index], label.shape, random)
    return found


def sample_annotated(label: NDArray[np.uint8], ignore_index: int) -> NDArray[np.unsignedinteger]:
    """As many voxels (n, 3) of what is annotated, background too: of all classes together.

    nnU-Net v2 keeps them where there is an ignore label, and centres on them what is not centred
    on a class of its own (``annotated_classes_key``).

    Args:
        label: (D, H, W) class indices.
        ignore_index: class index of what nobody annotated.
    """
    return _sample(np.flatnonzero(label != ignore_index), label.shape, np.random.RandomState(_SEED))


def _sample(
    voxels: NDArray[np.intp], shape: tuple[int, ...], random: np.random.RandomState
) -> NDArray[np.unsignedinteger]:
    """Some of these flat positions, as coordinates (n, 3)."""
    coordinate = np.uint16 if max(shape) <= np.iinfo(np.uint16).max else np.uint32
    count = max(min(_MOST, len(voxels)), int(np.ceil(_LEAST_SHARE * len(voxels))))
    chosen = voxels[random.choice(len(voxels), count, replace=False)] if count else voxels
    return np.stack(np.unravel_index(chosen, shape), axis=1).astype(coordinate)


def _flat_foreground(label: NDArray[np.uint8]) -> NDArray[np.intp]:
    """`numpy.flatnonzero`, plane by plane as booleans: five times as fast."""
    found = np.empty(np.count_nonzero(label), dtype=np.intp)
    start = 0
    for index, plane in enumerate(label):
        here = np.flatnonzero(plane != 0)
        found[start : start + len(here)] = here + index * plane.size
        start += len(here)
    return found
