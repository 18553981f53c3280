"""The way back from a prepared case to its scan's own grid."""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from mednext_cli.settings.values import Count, Frozen, Number
from mednext_cli.volumes.volume import Grid, Shape

_LONGEST_AXIS = 2**20
Length = Annotated[int, Field(strict=True, ge=1, le=_LONGEST_AXIS)]
Lengths = tuple[Length, Length, Length]
Millimetres = Annotated[Number, Field(gt=0.0)]
Bounds = tuple[Count, Count]
Row = tuple[Number, Number, Number, Number]


class SourceGeometry(Frozen):
    """The way back from the prepared grid to the scan's own.

    Attributes:
        file_shape: of the scan file, in its own axis order.
        file_affine: (4, 4), voxel indices of the scan file to millimetres of the patient.
        canonical_shape: (D, H, W) after reorientation.
        spacing_mm: (D, H, W) before resampling.
        box: what was cropped to, in canonical voxels.
        resampled_shape: (D, H, W) of the prepared image.
    """

    file_shape: Lengths
    file_affine: tuple[Row, Row, Row, Row]
    canonical_shape: Lengths
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    box: tuple[Bounds, Bounds, Bounds]
    resampled_shape: Lengths

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        for (start, stop), length in zip(self.box, self.canonical_shape, strict=True):
            if not start < stop <= length:
                raise ValueError("the box does not lie in the scan")
        return self

    @property
    def file_grid(self) -> Grid:
        """Of the scan file, in its own axis order."""
        return Grid(self.file_shape, np.array(self.file_affine))

    @property
    def cropped_shape(self) -> Shape:
        """(D, H, W) of the box, voxels."""
        depth, height, width = (stop - start for start, stop in self.box)
        return depth, height, width
