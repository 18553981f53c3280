"""Strided and transposed convolutions by the dense one: seven of eight results are thrown away.

A strided convolution is every second voxel of the dense one; a transposed one is the dense one,
with its taps in reverse order, of an image with zeros between its voxels. On tensor cores that is
faster than the strided kernels on the plain arithmetic units (benchmarks/README.md): what it costs
is memory for one image of the finer resolution while it runs.

Images here are contiguous (N, D, H, W, C).
"""

import torch
from torch import Tensor

_EVERY_SECOND = slice(None, None, 2)
_COARSE = (slice(None), _EVERY_SECOND, _EVERY_SECOND, _EVERY_SECOND)


def coarse(fine: Tensor) -> Tensor:
    """Every second voxel along each axis, from the first on: n to ceil(n / 2)."""
    return fine[_COARSE].contiguous()


def spread(image: Tensor, voxels: tuple[int, ...]) -> Tensor:
    """The image at every second voxel, and zeros between.

    Args:
        image: (N, d, h, w, C).
        voxels: D, H, W of the result, 2d - 1 or 2d, and so on.
    """
    fine = image.new_zeros((image.shape[0], *voxels, image.shape[-1]))
    fine[_COARSE] = image
    return fine


def fine_voxels(image: Tensor) -> tuple[int, ...]:
    """D, H, W of a transposed convolution's result: n voxels to 2n - 1."""
    return tuple(2 * size - 1 for size in image.shape[1:4])


def moments(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the voxels, each (N, C) in float32."""
    variance, mean = torch.var_mean(image.flatten(1, 3).float(), dim=1, correction=0)
    return mean, variance
