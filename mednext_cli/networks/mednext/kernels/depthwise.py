"""The depthwise convolution as a PyTorch operator: `mednext::depthwise` and its gradients.

Tensors are (N, C, D, H, W) with the channels last in memory; others are copied into that order.
Triton is imported when the operator first runs.
"""

from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.availability import device_of

_Gradients = tuple[Tensor, Tensor, Tensor]


def output_size(size: int, stride: int, transposed: bool) -> int:
    """Voxels along an axis of the result, padded by half the kernel."""
    return 2 * size - 1 if transposed else (size - 1) // stride + 1


def _output_shape(x: Tensor, stride: int, transposed: bool) -> list[int]:
    return [output_size(size, stride, transposed) for size in x.shape[2:]]


def last(x: Tensor) -> Tensor:
    """(N, C, D, H, W) as contiguous (N, D, H, W, C): a view where channels are last in memory."""
    return x.permute(0, 2, 3, 4, 1).contiguous()


def first(x: Tensor) -> Tensor:
    """(N, D, H, W, C) as a view (N, C, D, H, W)."""
    return x.permute(0, 4, 1, 2, 3)


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype is torch.float64 else torch.float32


def _triton_type(dtype: torch.dtype) -> Any:  # noqa: ANN401 - Triton has no types
    import triton.language as tl

    return tl.float64 if dtype is torch.float64 else tl.float32


def _taps(weight: Tensor, dtype: torch.dtype, flip: bool) -> Tensor:
    """(C, 1, K, K, K) as contiguous (K, K, K, C) in the accumulator's type."""
    taps = weight.detach()[:, 0].permute(1, 2, 3, 0).to(dtype)
    return (taps.flip(0, 1, 2) if flip else taps).contiguous()


def _empty(x: Tensor, shape: list[int]) -> Tensor:
    return torch.empty((x.shape[0], *shape, x.shape[-1]), dtype=x.dtype, device=x.device)


def _run(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    shape: list[int],
    way: str,
    moments: bool,
) -> tuple[Tensor, Tensor | None]:
    """Convolve contiguous (N, D, H, W, C); the partial moments are (N, programs, 3, C)."""
    from mednext_cli.networks.mednext.kernels import depthwise_kernels as kernels

    batch, *size, channels = x.shape
    kernel, itemsize = taps.shape[0], x.element_size()
    y = _empty(x, shape)
    grid_shape = (shape[0], shape[1], ceil(shape[2] / 2) if way == "scatter" else shape[2])
    if way == "march":
        tile = tiles.convolution_tile(kernel, grid_shape[2], channels, itemsize)
        extent = tiles.planes(grid_shape, batch, channels, tile)
        programs = ceil(shape[0] / extent) * shape[1]
        sizes: tuple[int, ...] = tuple(size)
    else:
        tile = tiles.strided_tile(grid_shape[2], channels, itemsize)
        extent = tiles.rows(grid_shape, batch, channels, tile)
        programs = ceil(shape[1] / extent) * shape[0]
        sizes = (*size, *shape)
    blocks = ceil(grid_shape[2] / tile.width)
    partials = None
    if moments:
        partials = torch.empty(
            (batch, programs * blocks, 3, channels), dtype=taps.dtype, device=x.device
        )
    grid = (batch * programs, blocks, ceil(channels / tile.channels))
    getattr(kernels, way)[grid](
        x,
        taps,
        taps if bias is None else bias,
        y,
        taps if partials is None else partials,
        *sizes,
        channels // tile.vector,
        extent,
        K=kernel,
        BIAS=bias is not None,
        MOMENTS=moments,
        BW=tile.width,
        BC=tile.channels,
        VEC=tile.vector,
        ACC=_triton_type(x.dtype),
        num_warps=tile.warps,
    )
    return y, partials


def _combine(partials: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (N, C) of programs' means, squared differences and counts."""
    mean, m2, count = partials.unbind(2)
    number = count.sum(1)
    whole = (count * mean).sum(1) / number
    spread = (m2 + count * (mean - whole[:, None]).square()).sum(1)
    return whole, spread / number


@custom_op("mednext::depthwise", mutates_args=())
def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    transposed: bool,
    moments: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Depthwise convolution; with `moments` also mean and variance (N, C), else two empty."""
    accumulator = _accumulator(x.dtype)
    way = "scatter" if transposed else "march" if stride == 1 else "gather"
    shape = _output_shape(x, stride, transposed)
    taps = _taps(weight, accumulator, flip=False)
    with device_of(x):
        y, partials = _run(last(x.detach()), taps, bias, shape, way, moments)
    if partials is None:
        return first(y), taps.new_empty(0), taps.new_empty(0)
    return first(y), *_combine(partials)


@depthwise.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    transposed: bool,
    moments: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (x.shape[0], *_output_shape(x, stride, transposed), x.shape[1])
    statistics = [
        x.new_empty(x.shape[:2] if moments else (0,), dtype=_accumulator(x.dtype)) for _ in range(2)
    ]
    return first(x.new_empty(shape)), statistics[0], statistics[1]


@custom_op("mednext::depthwise_backward", mutates_args=())
def depthwise_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    transposed: bool,
    needs_input: bool,
    needs_weight: bool,
) -> _Gradients:
    """Gradients of input, weight and bias; empty where not needed."""
    rows, image = last(gradient), last(x)
    accumulator = _accumulator(x.dtype)
    x_gradient, weight_gradient = x.new_empty(0), weight.new_empty(0)
    bias_gradient = weight.new_empty(0)
    if needs_input:
        way = "gather" if transposed else "march" if stride == 1 else "scatter"
        taps = _taps(weight, accumulator, flip=way == "march")
        with device_of(x):
            x_gradient = first(_run(rows, taps, None, list(x.shape[2:]), way, False)[0])
    if needs_weight:
        large, small = (rows, image) if transposed else (image, rows)
        kernel = weight.shape[-1]
        with device_of(x):
            sums = _weight_sums(large, small, kernel, 2 if transposed else stride)
        taps = sums[:-1].reshape(kernel, kernel, kernel, -1).permute(3, 0, 1, 2)
        weight_gradient = taps[:, None].to(weight.dtype).contiguous()
        summed = rows.sum((0, 1, 2, 3), dtype=accumulator) if transposed else sums[-1]
        bias_gradient = summed.to(weight.dtype, copy=True)
    return x_gradient, weight_gradient, bias_gradient


def _weight_sums(large: Tensor, small: Tensor, kernel: int, stride: int) -> Tensor:
    """Gradient of the taps (K^3, C) and below it the sum of the small grid's values.

    The programs' partial sums are added up in a second step, so that the result is the same in
    every run.
    """
    from mednext_cli.networks.mednext.kernels import weight_gradient_kernels as kernels

    batch, *shape, channels = small.shape
    tile = tiles.weight_gradient_tile(kernel, shape[2], channels, small.element_size())
    columns = batch * shape[1] * ceil(shape[2] / tile.width)
    splits = tiles.splits(columns, kernel, channels, tile)
    dtype = _accumulator(small.dtype)
    partials = torch.empty((splits, kernel**3 + 1, channels), dtype=dtype, device=small.device)
    grid = (splits * kernel, ceil(channels / tile.channels))
    strided = stride == 2
    run = kernels.strided_weight_gradient if strided else kernels.weight_gradient
    run[grid](
        large,
        small,
        partials,
        *large.shape[1:4],
        *(shape if strided else ()),
        channels // tile.vector,
        columns,
        splits,
        K=kernel,
        BW=tile.width,
        BC=tile.channels,
        VEC=tile.vector,
        ACC=_triton_type(small.dtype),
        num_warps=tile.warps,
    )
    return partials.sum(0)


@depthwise_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    transposed: bool,
    needs_input: bool,
    needs_weight: bool,
) -> _Gradients:
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    return (
        first(x.new_empty(shape)) if needs_input else x.new_empty(0),
        weight.new_empty(weight.shape) if needs_weight else weight.new_empty(0),
        weight.new_empty(weight.shape[0] if needs_weight else 0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
    x, weight, bias, ctx.stride, ctx.transposed, ctx.moments = inputs
    ctx.biased = bias is not None
    kept = (output[0], output[1]) if ctx.moments else ()
    ctx.save_for_backward(x, weight, *kept)


def _backward(
    ctx: Any,  # noqa: ANN401 - torch's context has no public type
    gradient: Tensor,
    mean_gradient: Tensor | None,
    variance_gradient: Tensor | None,
) -> tuple[Tensor | None, ...]:
    x, weight, *kept = ctx.saved_tensors
    if ctx.moments:
        gradient = _through_moments(gradient, mean_gradient, variance_gradient, *kept)
    needs = ctx.needs_input_grad
    x_gradient, weight_gradient, bias_gradient = depthwise_backward(
        gradient, x, weight, ctx.stride, ctx.transposed, needs[0], needs[1] or needs[2]
    )
    return (
        x_gradient if needs[0] else None,
        weight_gradient if needs[1] else None,
        bias_gradient if needs[2] and ctx.biased else None,
        None,
        None,
        None,
    )


def _through_moments(
    gradient: Tensor,
    mean_gradient: Tensor | None,
    variance_gradient: Tensor | None,
    y: Tensor,
    mean: Tensor,
) -> Tensor:
    """Add what reaches the result through its mean and variance (biased): 1/S and 2 (y - m)/S."""
    voxels = tiles.voxels(tuple(y.shape[2:]))
    if mean_gradient is None or variance_gradient is None:
        return gradient
    slope = variance_gradient * (2.0 / voxels)
    constant = mean_gradient / voxels - slope * mean
    shape = (*mean.shape, 1, 1, 1)
    whole = torch.addcmul(constant.view(shape), y.to(mean.dtype), slope.view(shape))
    return (gradient + whole).to(y.dtype)


depthwise.register_autograd(_backward, setup_context=_save)
