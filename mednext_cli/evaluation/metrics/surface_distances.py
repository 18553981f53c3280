"""Distances between the surfaces of two masks, weighted by the area of the surface elements."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mednext_cli.evaluation.metrics.nearest_voxels import REACH, nearest_distances
from mednext_cli.evaluation.metrics.surface_elements import (
    element_areas,
    is_surface,
    neighbour_codes,
)
from mednext_cli.volumes.volume import Spacing

# A distance that equals the tolerance but for rounding counts: 3 voxels of 0.1 mm are
# 0.30000000000000004 mm. Distances between far surfaces are single precision.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class DirectedDistances:
    """From each element of one surface to the nearest of the other.

    Attributes:
        distances_mm: ascending.
        areas_mm2: of the elements, in the same order.
    """

    distances_mm: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]

    @property
    def mean_mm(self) -> float:
        """Mean distance, weighted by area, mm."""
        return float(np.average(self.distances_mm, weights=self.areas_mm2))

    def percentile_mm(self, percent: float) -> float:
        """Distance that `percent` of the area does not exceed, mm."""
        if percent >= 100:
            return float(self.distances_mm[-1])
        share = np.cumsum(self.areas_mm2) / self.areas_mm2.sum()
        index = int(np.searchsorted(share, percent / 100.0))
        return float(self.distances_mm[min(index, len(share) - 1)])

    def area_within_mm2(self, tolerance_mm: float) -> float:
        """Area of the elements not farther away than the tolerance, mm2."""
        limit = tolerance_mm * (1.0 + _ROUNDING)
        return float(self.areas_mm2[: np.searchsorted(self.distances_mm, limit, "right")].sum())


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """The distances both ways; neither mask is empty."""

    from_reference: DirectedDistances
    from_prediction: DirectedDistances

    @property
    def mean_mm(self) -> float:
        """Mean of the two directed mean distances, mm."""
        return (self.from_reference.mean_mm + self.from_prediction.mean_mm) / 2.0

    @property
    def median_mm(self) -> float:
        """Mean of the two directed median distances, mm."""
        both = (self.from_reference, self.from_prediction)
        return sum(directed.percentile_mm(50) for directed in both) / 2.0

    def hausdorff_mm(self, percent: float = 100.0) -> float:
        """Larger of the two directed percentiles, mm (HD95 with 95, HD with 100)."""
        return max(
            self.from_reference.percentile_mm(percent), self.from_prediction.percentile_mm(percent)
        )

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within the tolerance of the other."""
        both = (self.from_reference, self.from_prediction)
        within = sum(directed.area_within_mm2(tolerance_mm) for directed in both)
        return float(within / sum(directed.areas_mm2.sum() for directed in both))


def compute_surface_distances(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Spacing
) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    Matches `compute_surface_distances` of the package surface-distance, whose elements and areas
    these are; see `surface_elements`.

    Args:
        reference: contiguous, three axes, cut to a box that holds both masks: the cost goes with
            the box.
        prediction: the same shape; neither may be empty.
        spacing_mm: voxel spacing in array-axis order.
    """
    codes = neighbour_codes(reference), neighbour_codes(prediction)
    surfaces = is_surface(codes[0]), is_surface(codes[1])
    areas = element_areas(spacing_mm)
    element = [areas[code[there]] for code, there in zip(codes, surfaces, strict=True)]
    first, second = (np.pad(there, REACH) for there in surfaces)
    return SurfaceDistances(
        from_reference=_sorted(nearest_distances(first, second, spacing_mm), element[0]),
        from_prediction=_sorted(nearest_distances(second, first, spacing_mm), element[1]),
    )


def _sorted(distances_mm: NDArray[np.float64], areas_mm2: NDArray[np.float64]) -> DirectedDistances:
    order = np.lexsort((areas_mm2, distances_mm))
    return DirectedDistances(distances_mm[order], areas_mm2[order])
