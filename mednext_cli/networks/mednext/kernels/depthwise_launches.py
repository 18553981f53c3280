"""Launches the depthwise convolution's kernels: tiles, grids, partial sums.

Everything here is contiguous (N, D, H, W, C). Triton is imported when a kernel first runs.
"""

from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.limits import limits_of


class Through(NamedTuple):
    """What a gradient of a result gets through the result's mean and variance.

    Attributes:
        result: (N, D, H, W, C), in the type of the image.
        terms: (N, 2, C), in the accumulator's type: the gradient of voxel y of sample n, channel c
            is what it says and terms[n, 0, c] + terms[n, 1, c] * y.
    """

    result: Tensor
    terms: Tensor


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums of this one are made."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def _tile_constants(tile: tiles.Tile, dtype: torch.dtype) -> dict[str, Any]:
    import triton.language as tl

    return {
        "BW": tile.width,
        "BC": tile.channels,
        "VEC": tile.vector,
        "ACC": tl.float64 if dtype is torch.float64 else tl.float32,
        "num_warps": tile.warps,
    }


class _Division(NamedTuple):
    """How a grid is shared out: `extent` planes (march) or rows a program, `blocks` along W."""

    tile: tiles.Tile
    extent: int
    programs: int
    blocks: int

    def grid(self, batch: int, channels: int) -> tuple[int, int, int]:
        return batch * self.programs, self.blocks, ceil(channels / self.tile.channels)


def _division(way: str, x: Tensor, kernel: int, shape: list[int]) -> _Division:
    batch, channels, itemsize = x.shape[0], x.shape[-1], x.element_size()
    # scatter makes an even and an odd voxel along W at once.
    limits = limits_of(x.device)
    depth, height, width = *shape[:2], ceil(shape[2] / 2) if way == "scatter" else shape[2]
    if way == "march":
        tile = tiles.convolution_tile(kernel, width, channels, itemsize)
        extent = tiles.planes((depth, height, width), batch, channels, kernel, tile, limits)
        programs = ceil(depth / extent) * height
    else:
        tile = tiles.strided_tile(width, channels, itemsize)
        extent = tiles.rows((depth, height, width), batch, channels, tile, limits)
        programs = ceil(height / extent) * depth
    return _Division(tile, extent, programs, ceil(width / tile.width))


def convolve(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    shape: list[int],
    way: str,
    moments: bool = False,
    through: Through | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Convolve x (N, D, H, W, C), or a gradient, to the grid `shape`.

    Args:
        x: the image; its partner in `through` where it is the gradient of a result with moments.
        taps: (K, K, K, C) in the accumulator's type.
        bias: (C,), contiguous.
        shape: voxels of the result.
        way: the kernel: "march" (stride 1), "gather" (stride 2), "scatter" (transposed).
        moments: whether to return partial moments (N, programs, 3, C): mean, squares, count.
        through: what x gets through mean and variance.
    """
    from mednext_cli.networks.mednext.kernels import depthwise_kernels as kernels

    batch, *size, channels = x.shape
    y = torch.empty((batch, *shape, channels), dtype=x.dtype, device=x.device)
    division = _division(way, x, taps.shape[0], shape)
    partials = None
    if moments:
        count = division.programs * division.blocks
        partials = torch.empty((batch, count, 3, channels), dtype=taps.dtype, device=x.device)
    tile = division.tile
    getattr(kernels, way)[division.grid(batch, channels)](
        x,
        taps,
        taps if bias is None else bias,
        y,
        taps if partials is None else partials,
        *((x, taps) if through is None else through),
        *size,
        *(() if way == "march" else shape),
        channels // tile.vector,
        division.extent,
        K=taps.shape[0],
        BIAS=bias is not None,
        MOMENTS=moments,
        TERMS=through is not None,
        **_tile_constants(tile, x.dtype),
    )
    return y, partials


def combine(partials: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (N, C) of programs' means, squared differences and counts."""
    mean, m2, count = partials.unbind(2)
    number = count.sum(1)
    whole = (count * mean).sum(1) / number
    spread = (m2 + count * (mean - whole[:, None]).square()).sum(1)
    return whole, spread / number


def weight_sums(
    image: Tensor,
    gradient: Tensor,
    kernel: int,
    stride: int,
    transposed: bool,
    through: Through | None,
) -> tuple[Tensor, Tensor]:
    """Gradients of taps (K, K, K, C) and bias (C,), of the image and the result's gradient.

    The programs' partial sums are added up in a second step, so that the result is the same in
    every run.
    """
    from mednext_cli.networks.mednext.kernels import weight_gradient_kernels as kernels

    large, small = (gradient, image) if transposed else (image, gradient)
    batch, *shape, channels = small.shape
    tile = tiles.weight_gradient_tile(kernel, shape[2], channels, small.element_size(), stride)
    columns = batch * shape[1] * ceil(shape[2] / tile.width)
    splits = tiles.splits(columns, kernel, channels, tile, limits_of(small.device))
    partials = torch.empty(
        (splits, kernel**3 + kernel, channels),
        dtype=accumulator(small.dtype),
        device=small.device,
    )
    strided = stride == 2
    run = kernels.strided_weight_gradient if strided else kernels.weight_gradient
    run[splits * kernel, ceil(channels / tile.channels)](
        large,
        small,
        *((small, partials) if through is None else through),
        partials,
        *large.shape[1:4],
        *(shape if strided else ()),
        channels // tile.vector,
        columns,
        splits,
        K=kernel,
        TERMS=through is not None,
        **({"TRANSPOSED": transposed} if strided else {}),
        **_tile_constants(tile, small.dtype),
    )
    sums = partials.sum(0)
    taps = sums[: kernel**3].reshape(kernel, kernel, kernel, channels)
    return taps, sums[kernel**3 :].sum(0)
