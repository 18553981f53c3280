"""Closed polygons around a mask, one for each island, as RT structure sets hold them.

A hole is joined to what encloses it by a channel without width, the keyhole of PS3.3 C.8.8.6.3,
which every reader fills rightly whatever its rule (even-odd, winding, union of contours).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Points = NDArray[np.float64]
_BETWEEN = 0.5  # a polygon runs half-way between voxels of the mask and others
_ASIDE = (0.37, 0.29)  # of an edge, where channels leave one ring and enter another


def outline(mask: NDArray[Any]) -> list[Points]:
    """Polygons around a mask; the centres of just its pixels lie in them.

    Args:
        mask: (rows, columns), True or 1 inside.

    Returns:
        For each island (N, 2) corners as (column, row), the first not repeated at the end; the
        centre of the first pixel is (0, 0).
    """
    from contourpy import FillType, contour_generator

    padded = np.pad(mask, 1).astype(np.float64)
    lines = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    found: Any = lines.filled(_BETWEEN, np.inf)
    polygons, offsets = found
    islands = []
    for points, ends in zip(polygons, offsets, strict=True):
        rings = [points[a : b - 1] - 1.0 for a, b in pairwise(ends)]
        islands.append(_simplify(_join(rings)))
    return islands


def _join(rings: list[Points]) -> Points:
    """One ring of a polygon and its holes, which are joined to it one by one, the nearest first.

    Thus no channel crosses a hole that is still to be joined.

    Args:
        rings: the polygon, then its holes; corners (N, 2) each.
    """
    corners = np.concatenate(rings)
    leaving, entering = (_doors(rings, share) for share in _ASIDE)
    ends = np.cumsum([len(ring) for ring in rings])
    follower = [*range(1, len(corners)), 0]
    for start, end in pairwise((0, *ends)):
        follower[end - 1] = int(start)
    extra: list[Points] = []
    for corner, other in _channels(leaving, entering, ends):
        there, back = (len(corners) + len(extra) + add for add in (0, 2))
        extra += [leaving[corner], entering[other], entering[other], leaving[corner]]
        follower += [there + 1, follower[other], back + 1, follower[corner]]
        follower[corner], follower[other] = there, back
    walk = [0]
    while (following := follower[walk[-1]]) != 0:
        walk.append(following)
    return np.concatenate([corners, np.reshape(extra, (-1, 2))])[walk]


def _doors(rings: list[Points], share: float) -> Points:
    """Where a channel may begin behind each corner of the rings, (N, 2) in all.

    Between corners, and not in the same place at its two ends: from corner to corner channels would
    run through the centres of voxels, which readers then may take or leave.
    """
    return np.concatenate([ring + share * (np.roll(ring, -1, axis=0) - ring) for ring in rings])


def _channels(
    leaving: Points, entering: Points, ends: NDArray[np.int_]
) -> Iterator[tuple[int, int]]:
    """Pairs of doors that join each hole to the polygon or a hole that is joined already."""
    parts = [np.arange(start, end) for start, end in pairwise((0, *ends))]
    waiting = {hole: KDTree(entering[parts[hole]]) for hole in range(1, len(parts))}
    nearest = dict.fromkeys(waiting, (np.inf, -1, -1))
    joined = 0
    while waiting:
        for hole, tree in waiting.items():
            distances, places = map(np.asarray, tree.query(leaving[parts[joined]]))
            best = int(np.argmin(distances))
            pair = int(parts[joined][best]), int(parts[hole][places[best]])
            nearest[hole] = min(nearest[hole], (float(distances[best]), *pair))
        joined = min(waiting, key=nearest.__getitem__)
        del waiting[joined]
        yield nearest[joined][1:]


def _simplify(ring: Points) -> Points:
    """Without corners on straight lines; the ends of channels, where a line turns back, stay."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    straight = before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]
    onwards = (before * after).sum(axis=1) > 0
    kept: Points = ring[~(straight & onwards)]
    return kept
