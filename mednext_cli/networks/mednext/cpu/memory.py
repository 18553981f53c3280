"""Images whose channels are last in memory, as rows, planes and grids."""

from typing import cast

import torch
from torch import Tensor
from torch.autograd import Function

_BEHIND_FIRST = (..., *(slice(1, None),) * 3)


def channels_last(x: Tensor) -> Tensor:
    """The memory format in which CPUs convolve fastest: (B, D, H, W, C) behind (B, C, D, H, W)."""
    return x.contiguous(memory_format=_memory_format(x))


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch.channels_last_3d if x.ndim == 5 else torch.channels_last


def planes_of(x: Tensor) -> Tensor:
    """(B, C, D, H, W) as (B D, C, H, W), without a copy where channels are last."""
    return x.movedim(2, 1).flatten(0, 1)


def spread(x: Tensor, size: "torch.Size | list[int]") -> Tensor:
    """Put the voxels at the even positions of a larger grid of zeros."""
    grid = torch.empty(
        (*x.shape[:2], *size), dtype=x.dtype, memory_format=torch.channels_last_3d
    ).zero_()
    grid[:, :, ::2, ::2, ::2] = x
    return grid


def add_at_even(image: Tensor, added: Tensor) -> Tensor:
    """Add (B, C, d, h, w) to the voxels at even places of (B, C, D, H, W), which is overwritten."""
    image[:, :, ::2, ::2, ::2] += added
    return image


def lies_behind_first(image: Tensor, added: Tensor) -> bool:
    """Whether an image has a voxel more than the other along each axis, and else its shape."""
    return image.shape == (*added.shape[:2], *(length + 1 for length in added.shape[2:]))


def add_behind_first(image: Tensor, added: Tensor) -> Tensor:
    """The image (B, C, D, H, W), with (B, C, D - 1, H - 1, W - 1) added behind its first voxels.

    A new tensor, channels last in memory. One pass, where padding with zeros takes three.
    """
    return cast("Tensor", _AddBehindFirst.apply(image, added))  # type: ignore[no-untyped-call]


class _AddBehindFirst(Function):
    """Its gradients are the result's, and what of it lies behind the first voxels."""

    @staticmethod
    def forward(_: object, image: Tensor, added: Tensor) -> Tensor:
        result = torch.empty(
            image.shape,
            dtype=torch.promote_types(image.dtype, added.dtype),
            device=image.device,
            memory_format=torch.channels_last_3d,
        )
        torch.add(image[_BEHIND_FIRST], added, out=result[_BEHIND_FIRST])
        for axis in range(2, 5):
            result.select(axis, 0).copy_(image.select(axis, 0))
        return result

    @staticmethod
    def backward(_: object, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient[_BEHIND_FIRST]


def rows_of(x: Tensor) -> Tensor:
    """(B, C, ...) as (B, voxels, C)."""
    return x.movedim(1, -1).flatten(1, -2)


def as_image(rows: Tensor, x: Tensor) -> Tensor:
    """(B, voxels, C) as (B, C, ...), of the same axes as x."""
    return rows.reshape(len(x), *x.shape[2:], -1).movedim(-1, 1)
