"""Connected parts of a structure and what it encloses, in the box that holds it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, ...]
Mask = NDArray[np.bool_]
# Voxels that share a corner belong together, as lesions are counted in evaluation.
_NEIGHBOURS = np.ones((3, 3, 3), np.bool_)


def find_boxes(labels: NDArray[Any]) -> list[Box | None]:
    """The box of each label value from 1 on; None where there is none of it."""
    return list(ndimage.find_objects(labels))


def joint_box(boxes: list[Box | None], values: Iterable[int]) -> Box | None:
    """The box that holds all of these label values; None where there is none of any."""
    found = [box for value in values if value <= len(boxes) and (box := boxes[value - 1])]
    if not found:
        return None
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*found, strict=True)
    )


def is_one_of(labels: NDArray[Any], values: Iterable[int]) -> Mask:
    """Where a label map holds one of these values."""
    table = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.bool_)
    table[[value for value in values if value < len(table)]] = True
    return np.asarray(table[labels])


def label_components(mask: Mask) -> NDArray[np.int32]:
    """Every voxel's connected part, from 1 on; 0 outside."""
    found, _ = ndimage.label(mask, _NEIGHBOURS)
    return np.asarray(found, dtype=np.int32)


def label_holes(mask: Mask) -> NDArray[np.int32]:
    """What the mask encloses, part by part from 1 on; 0 in the mask and outside.

    The way out leads through the sides of voxels: where a mask touches itself at an edge or a
    corner it is closed.
    """
    outside, _ = ndimage.label(~np.pad(mask, 1))
    holes = outside[1:-1, 1:-1, 1:-1]
    holes[holes == outside[0, 0, 0]] = 0
    return np.asarray(holes, dtype=np.int32)
