"""Products with the matrices of resampling, which are zero away from their diagonal."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 64
_NEGLIGIBLE = 1e-8  # cubic weights fall by 0.27 a voxel: this is reached after 14


@lru_cache(maxsize=64)
def weights(old: int, new: int, order: int) -> NDArray[np.float32]:
    """The (new, old) matrix of one axis: the identity, resampled along its first axis."""
    from scipy import ndimage

    zoom: Any = ndimage.zoom  # the stubs know one factor for all axes only
    made = zoom(np.eye(old), (new / old, 1.0), order=order, mode="nearest", grid_mode=True)
    made[np.abs(made) < _NEGLIGIBLE] = 0
    matrix: NDArray[np.float32] = made.astype(np.float32)
    return matrix


def reach(matrix: NDArray[np.float32], axis: int) -> slice:
    """From the first to the last row (axis 0) or column (axis 1) that is not zero."""
    where = np.flatnonzero(matrix.any(axis=1 - axis))
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def multiply(
    matrix: NDArray[np.float32],
    array: NDArray[np.float32],
    axis: int,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """A (new, old) matrix along one axis of (D, H, W), in blocks of rows without their zeros.

    Args:
        matrix: banded.
        array: (D, H, W); a view will do, nothing is copied.
        axis: which.
        out: where to put the result; the old array is no place for it.
    """
    if out is None:
        shape = list(array.shape)
        shape[axis] = len(matrix)
        out = np.empty(shape, dtype=np.float32)
    # The last two axes are what is multiplied: H and W, or, for the first axis, D and W.
    source, target = (voxels.swapaxes(0, 1) if axis == 0 else voxels for voxels in (array, out))
    for start in range(0, len(matrix), _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, len(matrix)))
        columns = reach(matrix[rows], 1)
        block = matrix[rows, columns]
        if axis == 2:
            np.matmul(source[..., columns], block.T, out=target[..., rows])
        else:
            np.matmul(block, source[:, columns], out=target[:, rows])
    return out
