"""A scan as an array with its place in the world."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an array lie.

    Attributes:
        shape: voxels along the three array axes, in the array's own order.
        affine: (4, 4), maps array indices to millimetres in RAS world space (nibabel's convention).
    """

    shape: Shape
    affine: Affine

    @property
    def spacing_mm(self) -> Spacing:
        """Distance of voxel centres along each array axis, mm."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    def same_as(self, other: "Grid", tolerance: float = 1e-3) -> bool:
        """Whether shape and affine agree (each affine entry within `tolerance`)."""
        return self.shape == other.shape and bool(
            np.allclose(self.affine, other.affine, rtol=0.0, atol=tolerance)
        )


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and their grid.

    Attributes:
        array: three axes. As read, in the file's order; after `orientation.to_canonical`,
            (D, H, W) = (inferior to superior, posterior to anterior, left to right).
        affine: (4, 4), maps array indices to millimetres in RAS world space.
    """

    array: NDArray[Any]
    affine: Affine

    @property
    def grid(self) -> Grid:
        """The grid without the voxels."""
        shape = self.array.shape
        return Grid((shape[0], shape[1], shape[2]), self.affine)

    @property
    def spacing_mm(self) -> Spacing:
        """Distance of voxel centres along each array axis, mm."""
        return self.grid.spacing_mm
