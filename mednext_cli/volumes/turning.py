"""Which axis slices are cut across, and arrays turned so that it comes first, and back.

Networks of slices see (1, H, W) of an image whose first axis is the coarsest, as in nnU-Net's 2D
configuration: within a slice voxels are finest and most alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = TypeVar("Kind")
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Turn:
    """Brings one axis of (D, H, W) to the front; the others keep their order.

    Attributes:
        axis: 0, 1 or 2; 0 leaves everything as it is.
    """

    axis: int = 0

    @property
    def order(self) -> tuple[int, int, int]:
        """By axis of the turned image, the axis of (D, H, W) it was."""
        first, second = (other for other in range(3) if other != self.axis)
        return self.axis, first, second

    def array(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """An array (..., D, H, W), turned; a view of it."""
        return np.moveaxis(array, self.axis - 3, -3)

    def array_back(self, turned: NDArray[Scalar]) -> NDArray[Scalar]:
        """An array whose last three axes are turned, as (..., D, H, W); a view of it."""
        return np.moveaxis(turned, -3, self.axis - 3)

    def triple(self, values: Sequence[Kind]) -> tuple[Kind, Kind, Kind]:
        """What is said of D, H and W, in the order of the turned image."""
        first, second, third = self.order
        return values[first], values[second], values[third]

    def triple_back(self, values: Sequence[Kind]) -> tuple[Kind, Kind, Kind]:
        """What is said of the turned image's axes, in the order (D, H, W)."""
        first, second, third = (values[self.order.index(axis)] for axis in range(3))
        return first, second, third

    def columns(self, points: NDArray[Any]) -> NDArray[Any]:
        """Voxels (N, 3) of an image as those of the turned one."""
        return points[:, self.order]

    def axes(self, axes: Iterable[int]) -> tuple[int, ...]:
        """Where axes of (D, H, W) are in the turned image, in its order."""
        return tuple(sorted(map(self.order.index, axes)))


UNTURNED = Turn()


def across_coarsest(spacing_mm: Sequence[float]) -> Turn:
    """Slices across the axis of (D, H, W) with the largest spacing, the first of equal ones."""
    return Turn(int(np.argmax(spacing_mm)))
