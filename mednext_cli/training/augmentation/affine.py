"""Rotation and zoom about the centre of a patch, as a map from its voxels to the case's."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mednext_cli.training.augmentation.parameters import Parameters

Corner = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """Voxels of a case, counted from the first voxel of the patch.

    Attributes:
        start: (D, H, W) of the first one; negative where the box begins before the patch.
        stop: of the one after the last.
    """

    start: Corner
    stop: Corner


class Affine:
    """Where the voxels of a patch are taken from.

    Voxel ``i`` is taken at ``A (i - c) + c``, with ``c`` the centre ``(patch - 1) / 2`` and ``A``
    the zoom first, then the rotations about D, H and W.

    Source: ``create_affine_matrix_3d`` of batchgeneratorsv2.

    Args:
        patch_voxels: (D, H, W).
        parameters: rotation, zoom and the axis across which there is neither are used.
    """

    def __init__(self, patch_voxels: Sequence[int], parameters: Parameters) -> None:
        self.patch_voxels = tuple(patch_voxels)
        self._centre = (np.asarray(patch_voxels) - 1) / 2
        self._matrix = _rotations(parameters.rotation) @ np.diag(parameters.zoom)
        self.across = parameters.across

    @property
    def box(self) -> Box:
        """All voxels that any voxel of the patch is interpolated from."""
        reach = np.abs(self._matrix) @ self._centre
        first = np.floor(self._centre - reach).astype(int).tolist()
        last = np.floor(self._centre + reach).astype(int).tolist()
        return Box((first[0], first[1], first[2]), (last[0] + 2, last[1] + 2, last[2] + 2))

    def coordinates(self, corner: Corner, rows: slice, device: torch.device) -> Iterator[Tensor]:
        """By axis of (D, H, W) the source (rows, H, W) of voxels, float32.

        Args:
            corner: from where they are counted: a voxel, itself counted from the patch's first.
            rows: which of the patch's, along D.
            device: where they are wanted.
        """
        index = [
            torch.arange(length, dtype=torch.float32, device=device) for length in self.patch_voxels
        ]
        offset = self._centre - self._matrix @ self._centre - np.asarray(corner)
        for (along_d, along_h, along_w), first in zip(self._matrix.tolist(), offset, strict=True):
            plane = (along_d * index[0][rows] + float(first))[:, None] + along_h * index[1]
            yield plane[..., None] + along_w * index[2]


def _rotations(angles: Sequence[float]) -> NDArray[np.float64]:
    """About the axes D, H and W, in this order."""
    (sine_d, sine_h, sine_w), (cos_d, cos_h, cos_w) = (
        [function(angle) for angle in angles] for function in (math.sin, math.cos)
    )
    about_d = np.array([[1, 0, 0], [0, cos_d, -sine_d], [0, sine_d, cos_d]])
    about_h = np.array([[cos_h, 0, sine_h], [0, 1, 0], [-sine_h, 0, cos_h]])
    about_w = np.array([[cos_w, -sine_w, 0], [sine_w, cos_w, 0], [0, 0, 1]])
    made: NDArray[np.float64] = about_w @ about_h @ about_d
    return made
