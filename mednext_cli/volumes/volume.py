"""A scan as an array with its place in the world."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from the world of DICOM and ITK to ours
_MM3_PER_ML = 1000.0
SAME_GRID = 0.1  # of a voxel: corners that are nearer to each other are in one place


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

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml; also where the axes are not at right angles."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / _MM3_PER_ML

    def distance_from(self, other: "Grid") -> tuple[float, float]:
        """How far the outer corners of two grids of one shape are apart at most.

        Returns:
            In voxels of `other`, and in mm.
        """
        corners = np.array(
            [[*corner, 1.0] for corner in product(*((-0.5, n - 0.5) for n in self.shape))]
        )
        moved = corners @ (self.affine - other.affine)[:3].T
        voxels = moved @ np.linalg.inv(other.affine[:3, :3]).T
        return (
            float(np.linalg.norm(voxels, axis=1).max()),
            float(np.linalg.norm(moved, axis=1).max()),
        )

    def same_as(self, other: "Grid", tolerance: float = SAME_GRID) -> bool:
        """Whether both have one shape and no corner lies more than `tolerance` voxels apart."""
        return self.shape == other.shape and self.distance_from(other)[0] <= tolerance


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and their grid.

    Attributes:
        array: three axes. As read, in the file's order; after `orientation.to_canonical`,
            (D, H, W) = (inferior to superior, posterior to anterior, left to right).
        affine: (4, 4), maps array indices to millimetres in RAS world space.
        notes: what is odd about how it is stored, though it can be used; a line each.
    """

    array: NDArray[Any]
    affine: Affine
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """The grid without the voxels."""
        shape = self.array.shape
        return Grid((shape[0], shape[1], shape[2]), self.affine)

    @property
    def spacing_mm(self) -> Spacing:
        """Distance of voxel centres along each array axis, mm."""
        return self.grid.spacing_mm
