"""Slices as radiologists look at them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PLANES = (("axial", 0), ("coronal", 1), ("sagittal", 2))
"""Name of each plane and the axis of (D, H, W) that its slices are cut across."""


def on_screen(array: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """One slice of a canonical array, its first row on top and its first column on the left.

    Axial and coronal slices show the patient's right on the left; sagittal ones look from the
    patient's left, front to the left.

    Args:
        array: (D, H, W) as `orientation.to_canonical` has it.
        axis: across which it is cut.
        index: of the slice.
    """
    return np.asarray(np.take(array, index, axis=axis)[::-1, ::-1])
