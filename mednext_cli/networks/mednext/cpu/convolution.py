"""Depthwise convolutions, whose gradients are forward convolutions and two-dimensional ones."""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mednext_cli.networks.mednext.cpu.memory import channels_last, planes_of, spread
from mednext_cli.networks.mednext.cpu.precision import by_precision
from mednext_cli.networks.short_axes import is_at_risk, least_lengths, lengthen

_COLUMNS = 3  # oneDNN has fast depthwise weight gradients for kernels up to this width


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Depthwise convolution of (B, C, D, H, W), padded by half the kernel."""
    return by_precision(partial(_apply, _Depthwise), x, weight, bias, stride, False)


def transposed_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Transposed depthwise convolution with stride 2: (B, C, n, ...) to (B, C, 2n - 1, ...)."""
    return by_precision(partial(_apply, _Depthwise), x, weight, bias, 1, True)


def _apply(function: type[Function], *arguments: Any) -> Tensor:  # noqa: ANN401 - as `forward` says
    return cast("Tensor", function.apply(*arguments))  # type: ignore[no-untyped-call]


class _Depthwise(Function):
    """Depthwise convolution whose gradients are forward convolutions and two-dimensional ones.

    A transposed convolution is a convolution of the input spread out with zeros; so is the input's
    gradient of a strided one.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context has no public type
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        transposed: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.transposed, ctx.biased = stride, transposed, bias is not None
        return convolve(x, weight, bias, stride, transposed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        gradient, step = channels_last(gradient), (ctx.stride, ctx.transposed)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        x_gradient = weight_gradient = bias_gradient = None
        if needs_x:
            x_gradient = image_gradient(x, gradient, weight, *step)
        if needs_weight:
            weight_gradient = taps_gradient(x, gradient, weight, *step)
        if needs_bias and ctx.biased:
            bias_gradient = gradient.sum((0, 2, 3, 4))
        return x_gradient, weight_gradient, bias_gradient, None, None


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, transposed: bool
) -> Tensor:
    """`depthwise` or `transposed_depthwise`, without gradients and in the image's own precision."""
    if transposed:
        x, weight = spread(x, [2 * size - 1 for size in x.shape[2:]]), _flip(weight)
        stride = 1
    return _convolve(x, weight, bias, stride)


def image_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, stride: int, transposed: bool
) -> Tensor:
    """The gradient of the image x of `convolve`, of that of its result, channels last."""
    if transposed:
        return _convolve(gradient, weight, None, 2)
    grid = gradient if stride == 1 else spread(gradient, x.shape[2:])
    return _convolve(grid, _flip(weight), None, 1)


def taps_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, stride: int, transposed: bool
) -> Tensor:
    """The same of its weight."""
    large, small = (gradient, x) if transposed else (x, gradient)
    strided = transposed or stride > 1
    compute = _strided_weight_gradient if strided else _weight_gradient
    return compute(large, small, weight)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return F.conv3d(
        x, weight, bias, stride=stride, padding=weight.shape[-1] // 2, groups=x.shape[1]
    )


def _flip(weight: Tensor) -> Tensor:
    return weight.flip(2, 3, 4)


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient (C, 1, k, k, k) of a depthwise kernel, input and gradient of the same grid.

    Each slice of the kernel is a two-dimensional weight gradient over all planes as one batch:
    planes of zeros between the samples keep them apart, so a shift along D is a shift of the batch.
    """
    kernel = weight.shape[-1]
    half = kernel // 2
    planes = planes_of(F.pad(x, (half,) * 6))
    gradients = planes_of(F.pad(gradient, (0, 0, 0, 0, half, half)))[half:-half]
    result = torch.empty_like(weight)
    for start in [*range(0, kernel - _COLUMNS, _COLUMNS), kernel - _COLUMNS]:
        columns = slice(start, start + _COLUMNS)
        window = planes[..., start : start + gradients.shape[-1] + _COLUMNS - 1]
        window = window.contiguous(memory_format=torch.channels_last)
        for depth in range(kernel):
            shifted = window[depth : depth + len(gradients)]
            result[:, :, depth, :, columns] = _convolution_weight_gradient(
                shifted, gradients, weight[:, :, depth, :, columns], stride=1, padding=0
            )
    return result


def _strided_weight_gradient(large: Tensor, small: Tensor, weight: Tensor) -> Tensor:
    """The same with stride 2, from the larger grid to the smaller: PyTorch's own is good here."""
    kernel = weight.shape[-1]
    if is_at_risk(large.dtype, kernel, strided=True):
        lengths = least_lengths(large, kernel)
        large = lengthen(large, lengths)
        small = lengthen(small, [(n - 1) // 2 + 1 for n in lengths])
    return _convolution_weight_gradient(large, small, weight, stride=2, padding=kernel // 2)


def _convolution_weight_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    axes, channels = x.ndim - 2, x.shape[1]
    _, result, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [stride] * axes,
        [padding] * axes,
        [1] * axes,
        False,
        [0] * axes,
        channels,
        [False, True, False],
    )
    return cast("Tensor", result)
