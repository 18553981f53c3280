"""Scores of the outermost layer of voxels of two masks, as the package medpy sees surfaces."""

import edt
import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.volume import Spacing


def border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of a mask with a face neighbour outside it; what lies beyond counts as outside.

    The same as the mask without its erosion by the six face neighbours.
    """
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for start in (0, 2):
            place = [slice(1, -1)] * 3
            place[axis] = slice(start, start + mask.shape[axis])
            inner &= padded[tuple(place)]
    return mask & ~inner


def boundary_iou(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Intersection over union of the two masks' borders, one voxel thick; neither is empty.

    Cheng et al., "Boundary IoU" (2021), with the thinnest boundary that a grid allows.
    """
    first, second = border(reference), border(prediction)
    return float(np.count_nonzero(first & second) / np.count_nonzero(first | second))


def pooled_hd95_mm(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Spacing
) -> float:
    """HD95 as medpy's `hd95`: the percentile of both directions' distances together, mm.

    Distances run between centres of border voxels, each counts alike, and the percentile is
    interpolated; neither mask may be empty.
    """
    first, second = border(reference), border(prediction)
    distances = [
        edt.edt(~target, anisotropy=spacing_mm)[source]
        for source, target in ((first, second), (second, first))
    ]
    return float(np.percentile(np.concatenate(distances).astype(np.float64), 95))
