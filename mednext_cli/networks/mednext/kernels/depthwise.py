"""The depthwise convolution as a PyTorch operator: `mednext::depthwise` and its gradients.

Tensors are (N, C, D, H, W) with the channels last in memory; others are copied into that order.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.availability import device_of
from mednext_cli.networks.mednext.kernels.depthwise_launches import (
    Through,
    accumulator,
    combine,
    convolve,
    weight_sums,
)

_Gradients = tuple[Tensor, Tensor, Tensor]


def output_size(size: int, stride: int, transposed: bool) -> int:
    """Voxels along an axis of the result, padded by half the kernel."""
    return 2 * size - 1 if transposed else (size - 1) // stride + 1


def output_shape(x: Tensor, stride: int, transposed: bool) -> list[int]:
    """Voxels of the result of an image (N, C, D, H, W)."""
    return [output_size(size, stride, transposed) for size in x.shape[2:]]


def last(x: Tensor) -> Tensor:
    """(N, C, D, H, W) as contiguous (N, D, H, W, C): a view where channels are last in memory."""
    return x.permute(0, 2, 3, 4, 1).contiguous()


def first(x: Tensor) -> Tensor:
    """(N, D, H, W, C) as a view (N, C, D, H, W)."""
    return x.permute(0, 4, 1, 2, 3)


def _taps(weight: Tensor, dtype: torch.dtype, flip: bool) -> Tensor:
    """(C, 1, K, K, K) as contiguous (K, K, K, C) in the accumulator's type."""
    taps = weight.detach()[:, 0].permute(1, 2, 3, 0).to(dtype)
    return (taps.flip(0, 1, 2) if flip else taps).contiguous()


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
    taps = _taps(weight, accumulator(x.dtype), flip=False)
    way = "scatter" if transposed else "march" if stride == 1 else "gather"
    shape = output_shape(x, stride, transposed)
    given = None if bias is None else bias.detach().contiguous()
    with device_of(x):
        y, partials = convolve(last(x.detach()), taps, given, shape, way, moments)
    if partials is None:
        return first(y), taps.new_empty(0), taps.new_empty(0)
    return first(y), *combine(partials)


@depthwise.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    transposed: bool,
    moments: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (x.shape[0], *output_shape(x, stride, transposed), x.shape[1])
    statistics = [
        x.new_empty(x.shape[:2] if moments else (0,), dtype=accumulator(x.dtype)) for _ in range(2)
    ]
    return first(x.new_empty(shape)), statistics[0], statistics[1]


@custom_op("mednext::depthwise_backward", mutates_args=())
def depthwise_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    terms: Tensor | None,
    stride: int,
    transposed: bool,
    needs_input: bool,
    needs_weight: bool,
) -> _Gradients:
    """Gradients of input, weight and bias; empty where not needed.

    With `y`, the forward's result, and `terms`, as `moment_terms` makes them, the gradient is what
    it says and what comes through mean and variance, added in registers in the accumulator's type:
    the gradient is in the image's type, whose rounding would lose so small an addend.
    """
    rows, image = last(gradient), last(x)
    through = None if y is None or terms is None else Through(last(y), terms.contiguous())
    x_gradient, weight_gradient = x.new_empty(0), weight.new_empty(0)
    bias_gradient = weight.new_empty(0)
    if needs_input:
        way = "gather" if transposed else "march" if stride == 1 else "scatter"
        taps = _taps(weight, accumulator(x.dtype), flip=way == "march")
        with device_of(x):
            found, _ = convolve(rows, taps, None, list(x.shape[2:]), way, through=through)
        x_gradient = first(found)
    if needs_weight:
        with device_of(x):
            taps, total = weight_sums(image, rows, weight.shape[-1], stride, transposed, through)
        weight_gradient = taps.permute(3, 0, 1, 2)[:, None].to(weight.dtype).contiguous()
        bias_gradient = total.to(weight.dtype)
    return x_gradient, weight_gradient, bias_gradient


@depthwise_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    terms: Tensor | None,
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


def moment_terms(
    mean_gradient: Tensor, variance_gradient: Tensor, mean: Tensor, voxels: int
) -> Tensor:
    """What a result's gradient gets through its mean and (biased) variance: 1/S and 2 (y - m)/S.

    Args:
        mean_gradient: (N, C), gradient of the mean.
        variance_gradient: (N, C), gradient of the variance.
        mean: (N, C), m.
        voxels: S, of a sample.

    Returns:
        (N, 2, C), constant and slope: the gradient of voxel y gets constant + slope * y.
    """
    # A tensor: with sizes that are symbols, a number derived from them stops PyTorch's compiler.
    count = torch.full((), voxels, dtype=mean.dtype, device=mean.device)
    slope = 2.0 * variance_gradient / count
    return torch.stack([mean_gradient / count - slope * mean, slope], dim=1)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
    x, weight, bias, ctx.stride, ctx.transposed, ctx.moments = inputs
    ctx.biased = bias is not None
    kept = (output[0], output[1]) if ctx.moments else ()
    ctx.save_for_backward(x, weight, *kept)


def _backward(
    ctx: Any,  # noqa: ANN401 - torch's context has no public type
    gradient: Tensor,
    mean_gradient: Tensor,
    variance_gradient: Tensor,
) -> tuple[Tensor | None, ...]:
    x, weight, *kept = ctx.saved_tensors
    y = terms = None
    if ctx.moments:
        y, mean = kept
        voxels = tiles.voxels(tuple(y.shape[2:]))
        terms = moment_terms(mean_gradient, variance_gradient, mean, voxels)
    needs = ctx.needs_input_grad
    found = depthwise_backward(
        gradient, x, weight, y, terms, ctx.stride, ctx.transposed, needs[0], needs[1] or needs[2]
    )
    wanted = (needs[0], needs[1], needs[2] and ctx.biased)
    return (
        *(one if want else None for one, want in zip(found, wanted, strict=True)),
        None,
        None,
        None,
    )


depthwise.register_autograd(_backward, setup_context=_save)
