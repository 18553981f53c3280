"""Surface elements of a binary mask: where they lie and how large they are.

A mask's surface is cut into pieces, one for every corner at which inside and outside voxels meet.
The eight voxels round a corner are one of 256 patterns, and marching cubes says which triangles
separate the inside from the outside of a pattern. Their summed area is the element's area. The
same elements underlie the package surface-distance (DeepMind), so that the figures compare.
"""

from functools import lru_cache
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.volume import Spacing

Corner = tuple[int, int, int]
Normals = tuple[tuple[float, float, float], ...]
NeighbourCodes = NDArray[np.uint8]

_EDGE, _DIAGONAL, _CUT, _HALF = (0.25, 0.25, 0.0), (0.25,) * 3, (0.125,) * 3, (0.5, 0.0, 0.0)
# The patterns of marching cubes, one of each kind: which of the eight voxels are inside, and the
# normals of the triangles (their length is the triangle's area on a grid of 1 mm; signs do not
# matter for areas). The other patterns are these, turned, mirrored, or inside out.
_PATTERNS: tuple[tuple[tuple[Corner, ...], Normals], ...] = (
    (((1, 1, 1),), (_CUT,)),
    (((1, 1, 0), (1, 1, 1)), (_EDGE, _EDGE)),
    (((1, 0, 1), (1, 1, 0)), (_CUT, _CUT)),
    (((0, 1, 1), (1, 0, 0)), (_CUT, _CUT)),
    (((1, 0, 1), (1, 1, 0), (1, 1, 1)), (_CUT, _DIAGONAL, _HALF)),
    (((0, 1, 1), (1, 0, 0), (1, 1, 1)), (_CUT, (0.0, 0.25, 0.25), (0.0, 0.25, 0.25))),
    (((0, 1, 1), (1, 0, 1), (1, 1, 0)), (_CUT, _CUT, _CUT)),
    (((1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)), (_HALF, _HALF)),
    (((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)), (_CUT, _CUT, _DIAGONAL, _DIAGONAL)),
    (
        ((0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)),
        (_CUT, (0.0, 0.25, 0.25), (0.25, 0.0, 0.25), (0.375, 0.375, 0.375)),
    ),
    (((0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0)), (_CUT, _CUT, _DIAGONAL, _HALF)),
    (((0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)), (_EDGE, _EDGE, _EDGE, _EDGE)),
    (((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)), (_CUT, _CUT, _CUT, _CUT)),
)
_INSIDE = 255  # all eight voxels


@lru_cache(maxsize=1)
def _normals_by_code() -> tuple[Normals, ...]:
    """The triangles of all 256 patterns, from the thirteen kinds and the symmetries of the cube."""
    table: list[Normals] = [()] * 256
    for corners, normals in _PATTERNS:
        for axes, flips in product(permutations(range(3)), product((0, 1), repeat=3)):
            turned = [tuple(corner[axis] ^ flips[i] for i, axis in enumerate(axes))
                      for corner in corners]  # fmt: skip
            code = sum(1 << (7 - (4 * z + 2 * y + x)) for z, y, x in turned)
            table[code] = tuple((n[axes[0]], n[axes[1]], n[axes[2]]) for n in normals)
            table[_INSIDE - code] = table[code]
    return tuple(table)


@lru_cache(maxsize=1024)
def element_areas(spacing_mm: Spacing) -> NDArray[np.float64]:
    """Area of the surface element of each of the 256 neighbour codes, mm2.

    Args:
        spacing_mm: voxel spacing in array-axis order.
    """
    first, second, third = spacing_mm
    faces = np.array([second * third, first * third, first * second])
    areas = [np.linalg.norm(np.array(n) * faces, axis=1).sum() if n else 0.0
             for n in _normals_by_code()]  # fmt: skip
    return np.array(areas)


def neighbour_codes(mask: NDArray[np.bool_]) -> NeighbourCodes:
    """Which of the eight voxels round each corner are inside, as one byte a corner.

    Args:
        mask: three axes of n0, n1, n2 voxels; what lies beyond counts as outside.

    Returns:
        n0 + 1, n1 + 1, n2 + 1 codes; the corner (i, j, k) has the voxels (i - 1 .. i, ...) round
        it, the first of which is the highest bit.
    """
    codes: NDArray[Any] = np.pad(mask.view(np.uint8), 1)
    codes = (codes[:, :, :-1] << 1) | codes[:, :, 1:]
    codes = (codes[:, :-1] << 2) | codes[:, 1:]
    return np.ascontiguousarray((codes[:-1] << 4) | codes[1:])


def is_surface(codes: NeighbourCodes) -> NDArray[np.bool_]:
    """Whether a surface element lies at each corner: its voxels are neither all in nor all out."""
    # Unsigned wrap-around turns 0 and 255 into the two largest values: one comparison for two.
    return (codes - np.uint8(1)) < _INSIDE - 1
