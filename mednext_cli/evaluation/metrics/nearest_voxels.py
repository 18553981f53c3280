"""Distance from each voxel of one set to the nearest of another, cheap where the sets are close.

Two surfaces that are worth comparing lie a few voxels apart, so the neighbourhood of each voxel is
looked through from near to far, which costs with the surface and not with the box around it. Only
voxels with nothing near are left to a tree or, when they are many, to a distance transform.
"""

from functools import lru_cache
from itertools import groupby, product

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from mednext_cli.volumes.volume import Spacing

Offset = tuple[int, ...]
REACH = 6  # voxels that are looked through along each axis, and the margin this needs
_MOST_OFFSETS = 250
_PATIENCE = 24  # offsets in which half of the voxels must find their neighbour
_VOXELS_PER_QUERY = 60  # voxels a distance transform gets through while a tree finds one neighbour


def nearest_distances(
    source: NDArray[np.bool_], target: NDArray[np.bool_], spacing_mm: Spacing
) -> NDArray[np.float64]:
    """Distance from each voxel of `source`, in C order, to the nearest of `target`, mm.

    Args:
        source: three axes, C-contiguous, False within `REACH` voxels of every edge.
        target: the same; not empty.
        spacing_mm: voxel spacing in array-axis order.
    """
    there = target.ravel()
    places = np.flatnonzero(source)
    distances = np.zeros(len(places))
    pending = np.flatnonzero(~there[places])
    places = places[pending]
    _, second, third = source.shape
    looked, at_last = 0, len(pending)
    for distance_mm, offsets in _shells(spacing_mm):
        if len(pending) == 0:
            return distances
        if looked >= _PATIENCE:
            if 2 * len(pending) > at_last:
                break  # the surfaces lie far apart: looking on would cost more than it finds
            looked, at_last = 0, len(pending)
        looked += len(offsets)
        hit = np.zeros(len(places), bool)
        for z, y, x in offsets:
            hit |= there[places + ((z * second + y) * third + x)]
        if hit.any():
            distances[pending[hit]] = distance_mm
            pending, places = pending[~hit], places[~hit]
    if len(pending):
        distances[pending] = _far_distances(places, target, spacing_mm)
    return distances


@lru_cache(maxsize=1024)
def _shells(spacing_mm: Spacing) -> tuple[tuple[float, tuple[Offset, ...]], ...]:
    """Offsets of the same distance together, nearest first, as far as none is left out."""
    complete = min(spacing_mm) * (REACH + 0.5)
    steps = range(-REACH, REACH + 1)
    offsets = [
        (float(np.linalg.norm(np.multiply(offset, spacing_mm))), offset)
        for offset in product(steps, repeat=3)
        if any(offset)
    ]
    near = sorted(pair for pair in offsets if pair[0] < complete)[:_MOST_OFFSETS]
    return tuple(
        (distance, tuple(offset for _, offset in group))
        for distance, group in groupby(near, key=lambda pair: pair[0])
    )


def _far_distances(
    places: NDArray[np.int64], target: NDArray[np.bool_], spacing_mm: Spacing
) -> NDArray[np.float64]:
    """The same for a few voxels, given by their flat indices, wherever the nearest is."""
    within = (slice(REACH, -REACH),) * 3
    inner = target[within]
    points = np.stack(np.unravel_index(places, target.shape), axis=1) - REACH
    if len(places) * _VOXELS_PER_QUERY > inner.size:
        distances = edt.edt(~inner, anisotropy=spacing_mm)
        return np.asarray(distances[tuple(points.T)], np.float64)
    tree = KDTree(np.argwhere(inner) * spacing_mm, compact_nodes=False, balanced_tree=False)
    return np.asarray(tree.query(points * spacing_mm)[0], np.float64)
