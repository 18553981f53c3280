"""Stages of a U-Net from the patch and the spacing, as nnU-Net chooses them.

Source: nnU-Net v2, `get_pool_and_conv_props` (Isensee et al., Nature Methods 2021, supplement 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SHORTEST = 4  # voxels of an axis in the bottleneck
_ALONE = 3 * _SHORTEST  # and of an axis that nothing is halved with, before it is halved
_NEAR = 2  # spacings are treated alike within less than this factor

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Topology:
    """One entry a stage, from full resolution to the bottleneck.

    Attributes:
        strides: of the stage's first convolution, along each axis.
        kernel_sizes: of all its convolutions, voxels along each axis.
    """

    strides: tuple[Axes, ...]
    kernel_sizes: tuple[Axes, ...]


def plan_topology(patch_voxels: Sequence[int], spacing_mm: Sequence[float]) -> Topology:
    """Halve what is finest until the bottleneck is 4 to 7 voxels along each axis.

    An axis is halved while it has 8 voxels and its spacing is less than twice the finest of such
    axes. Its kernels are 1 until its spacing is first less than twice the finest of all axes, and
    3 from then on; the bottleneck's are always 3.

    Args:
        patch_voxels: along each axis.
        spacing_mm: along each axis.
    """
    lengths, spacings = list(patch_voxels), list(spacing_mm)
    strides, kernel_sizes = [(1,) * len(lengths)], []
    kernel = (1,) * len(lengths)
    while halved := _axes_to_halve(lengths, spacings):
        finest = min(spacings)
        kernel = tuple(
            3 if spacing / finest < _NEAR else size
            for spacing, size in zip(spacings, kernel, strict=True)
        )
        kernel_sizes.append(kernel)
        strides.append(tuple(2 if axis in halved else 1 for axis in range(len(lengths))))
        for axis in halved:
            lengths[axis] = math.ceil(lengths[axis] / 2)
            spacings[axis] *= 2
    return Topology(tuple(strides), (*kernel_sizes, (3,) * len(lengths)))


def _axes_to_halve(lengths: Sequence[int], spacings: Sequence[float]) -> list[int]:
    long = [axis for axis, length in enumerate(lengths) if length >= 2 * _SHORTEST]
    finest = min((spacings[axis] for axis in long), default=0.0)
    halved = [axis for axis in long if spacings[axis] / finest < _NEAR]
    if len(halved) == 1 and lengths[halved[0]] < _ALONE:
        return []
    return halved
