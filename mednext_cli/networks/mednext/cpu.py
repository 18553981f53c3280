"""The same arithmetic, arranged for CPUs, where PyTorch's own backward passes are slow.

Forward and backward, milliseconds of one AVX-512 core, PyTorch 2.13, channels-last float32
(2, 16, 32, 48, 32): depthwise 3x3x3 22 in PyTorch, 7.5 here; 5x5x5 73 and 32; norm 7.5 and 2.8;
1x1x1 to 32 channels 11 and 4.1; transposed depthwise from (2, 32, 16, 24, 16) 24 and 9.5. A whole
training step of S with 16 base channels: kernel 3 567 and 246, kernel 5 972 and 360. The norm is
also more exact here: PyTorch's takes a channels-last variance as a difference of squares.

Under autocast to bfloat16 images are that, and products of them; statistics and sums are float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.networks.pretending import current_pretence
from mednext_cli.networks.short_axes import is_at_risk, least_lengths, lengthen

_ONEDNN_BATCH = 16  # from here on PyTorch leaves 1x1 convolutions to oneDNN whatever else
_PIECE = 1 << 18  # expanded activations worked on at once: 1 MiB in float32
_COLUMNS = 3  # oneDNN has fast depthwise weight gradients for kernels up to this width
_REDUCED = ("cpu", torch.bfloat16)
_arranging: ContextVar[bool] = ContextVar("arranging", default=True)


@contextmanager
def left_to_pytorch() -> Iterator[None]:
    """Within, nothing takes the way through this module: where it was measured to be slower."""
    token = _arranging.set(False)
    try:
        yield
    finally:
        _arranging.reset(token)


def is_arranged(x: Tensor) -> bool:
    """Whether this tensor takes the way through this module.

    Not on accelerators (nor "meta"), in float16, or where a graph is recorded for another engine,
    which knows PyTorch's own operators best. Nor in two dimensions: training a small
    network so ended in a damaged heap in oneDNN (PyTorch 2.13 on an AMD EPYC; contiguous does not).
    """
    return (
        x.device.type == "cpu"
        and x.ndim == 5
        and x.dtype in _taken_types()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
        and _arranging.get()
    )


def _taken_types() -> tuple[torch.dtype, ...]:
    if not torch.is_autocast_enabled("cpu"):
        return (torch.float32, torch.float64)
    return (torch.float32, torch.bfloat16) if is_reduced() else ()


def is_reduced(x: Tensor | None = None) -> bool:
    """Whether autocast to bfloat16 is on for CPUs, or pretended to be for a tensor on "meta"."""
    if x is not None and x.is_meta:
        pretence = current_pretence()
        return pretence is not None and (pretence.device_type, pretence.dtype) == _REDUCED
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16


def channels_last(x: Tensor) -> Tensor:
    """The memory format in which CPUs convolve fastest: (B, D, H, W, C) behind (B, C, D, H, W)."""
    return x.contiguous(memory_format=_memory_format(x))


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch.channels_last_3d if x.ndim == 5 else torch.channels_last


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1x1 convolution of (B, C, D, H, W); the result's channels are last in memory.

    As a two-dimensional one over all planes. PyTorch runs three-dimensional ones without oneDNN,
    and forgets the memory format, where there is one thread or the features are small.
    """
    return _by_precision(_pointwise, x, weight, bias)


def _by_precision(
    function: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *rest: object,
) -> Tensor:
    """Call it; under autocast in bfloat16, or where no instruction has that, as if it were.

    A product of two bfloat16 values is exact in float32, in which such instructions add up, too;
    PyTorch does without them at a fraction of float32's speed.
    """
    if not is_reduced():
        return function(x, weight, bias, *rest)
    rounded = [None if one is None else one.to(torch.bfloat16) for one in (x, weight, bias)]
    with torch.autocast("cpu", enabled=False):
        if multiplies_bfloat16():
            return function(*rounded, *rest)
        wide = [None if one is None else one.float() for one in rounded]
        return function(*wide, *rest).to(torch.bfloat16)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if len(x) * x.shape[2] < _ONEDNN_BATCH:
        rows = F.linear(x.movedim(1, -1), weight.flatten(1), bias)
        return rows.movedim(-1, 1)
    planes = F.conv2d(_planes(x), weight.squeeze(-1), bias)
    return planes.reshape(len(x), -1, *planes.shape[1:]).movedim(1, 2)


def strided_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1x1 convolution of every second voxel along each axis; PyTorch's own has no oneDNN."""
    return pointwise(channels_last(x[:, :, ::2, ::2, ::2]), weight, bias)


def transposed_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Transposed 1x1x1 convolution with stride 2, weight (C, C', 1, 1, 1): n voxels to 2n - 1."""
    rows = pointwise(x, weight.transpose(0, 1), None)
    result = _spread(rows, [2 * size - 1 for size in x.shape[2:]])
    return result if bias is None else result + bias.to(result.dtype).view(-1, 1, 1, 1)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Depthwise convolution of (B, C, D, H, W), padded by half the kernel."""
    return _by_precision(partial(_apply, _Depthwise), x, weight, bias, stride, False)


def transposed_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Transposed depthwise convolution with stride 2: (B, C, n, ...) to (B, C, 2n - 1, ...)."""
    return _by_precision(partial(_apply, _Depthwise), x, weight, bias, 1, True)


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
        x, weight = _spread(x, [2 * size - 1 for size in x.shape[2:]]), _flip(weight)
        stride = 1
    return _convolve(x, weight, bias, stride)


def image_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, stride: int, transposed: bool
) -> Tensor:
    """The gradient of the image x of `convolve`, of that of its result, channels last."""
    if transposed:
        return _convolve(gradient, weight, None, 2)
    spread = gradient if stride == 1 else _spread(gradient, x.shape[2:])
    return _convolve(spread, _flip(weight), None, 1)


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


def _spread(x: Tensor, size: "torch.Size | list[int]") -> Tensor:
    """Put the voxels at the even positions of a larger grid of zeros."""
    spread = torch.empty(
        (*x.shape[:2], *size), dtype=x.dtype, memory_format=torch.channels_last_3d
    ).zero_()
    spread[:, :, ::2, ::2, ::2] = x
    return spread


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient (C, 1, k, k, k) of a depthwise kernel, input and gradient of the same grid.

    Each slice of the kernel is a two-dimensional weight gradient over all planes as one batch:
    planes of zeros between the samples keep them apart, so a shift along D is a shift of the batch.
    """
    kernel = weight.shape[-1]
    half = kernel // 2
    planes = _planes(F.pad(x, (half,) * 6))
    gradients = _planes(F.pad(gradient, (0, 0, 0, 0, half, half)))[half:-half]
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


def _planes(x: Tensor) -> Tensor:
    """(B, C, D, H, W) as (B D, C, H, W), without a copy where channels are last."""
    return x.movedim(2, 1).flatten(0, 1)


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


def spatial_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Group norm with one channel a group, of (B, C, ...): each channel over its own voxels."""
    if torch.is_grad_enabled():
        return _apply(_SpatialNorm, x, weight, bias, epsilon)
    return _normalise(x, weight, bias, epsilon)[0]


def _normalise(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The result, the centred rows (B, voxels, C) and 1 / standard deviation (B, 1, C)."""
    rows = at_least_float32(_rows(x))
    centred = rows - rows.mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + epsilon).rsqrt()
    result = _like(torch.addcmul(bias, centred, scale * weight), x)
    return result.to(x.dtype), centred.to(x.dtype), scale


def at_least_float32(x: Tensor) -> Tensor:
    """In float32 where it is bfloat16, else as it is."""
    return x.float() if x.dtype is torch.bfloat16 else x


def inverted_bottleneck(
    x: Tensor,
    norm: tuple[Tensor, Tensor, float],
    expand: tuple[Tensor, Tensor],
    compress: tuple[Tensor, Tensor],
    residual: Tensor | None,
) -> Tensor:
    """Norm, 1x1x1 expansion, GELU, 1x1x1 compression and residual, without gradients.

    Goes through the voxels in pieces that stay in a core's cache, so that neither the normalised
    nor the expanded activations are ever whole in memory: at 128^3 fresh pages for them took two
    thirds of the time (`benchmarks/engines.py`).

    Args:
        x: (B, C, ...), channels last in memory; overwritten where C' is C.
        norm: weight and bias (C,) of the spatial norm, and its epsilon.
        expand: weight (R C, C, 1, ...) and bias (R C,).
        compress: weight (C', R C, 1, ...) and bias (C',).
        residual: (B, C', ...) or None.

    Returns:
        (B, C', ...), channels last in memory.
    """
    rows = _rows(x)
    weight, bias, epsilon = norm
    piece = _ONEDNN_BATCH * max(_PIECE // len(expand[0]) // _ONEDNN_BATCH, 1)
    mean = rows.mean(1, keepdim=True)
    squares = torch.zeros_like(mean)
    for some in torch.split(rows, piece, 1):
        squares += (some - mean).square_().sum(1, keepdim=True)
    scale = (squares / rows.shape[1] + epsilon).rsqrt() * weight
    channels = len(compress[0])
    result = rows if channels == rows.shape[2] else rows.new_empty((*rows.shape[:2], channels))
    for sample in range(len(rows)):
        for start in range(0, rows.shape[1], piece):
            part = slice(start, start + piece)
            normalised = torch.addcmul(bias, rows[sample, part] - mean[sample], scale[sample])
            inner = linear(normalised, *expand)
            result[sample, part] = linear(torch.ops.aten.gelu_(inner), *compress)
    if residual is not None:
        result += _rows(residual)
    return _like(result, x)


def linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1x1 convolution of (voxels, C), by oneDNN where it can be had: twice as fast as MKL."""
    if len(rows) % _ONEDNN_BATCH:
        return F.linear(rows, weight.flatten(1), bias)
    planes = rows.reshape(_ONEDNN_BATCH, -1, 1, rows.shape[1]).movedim(-1, 1)
    return F.conv2d(planes, weight.flatten(2).unsqueeze(-1), bias).movedim(1, -1).flatten(0, 2)


def _rows(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(1, -2)


def _like(rows: Tensor, x: Tensor) -> Tensor:
    return rows.reshape(len(x), *x.shape[2:], -1).movedim(-1, 1)


class _SpatialNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:  # noqa: ANN401
        result, centred, scale = _normalise(x, weight, bias, epsilon)
        ctx.save_for_backward(centred, scale, weight)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        saved, scale, weight = ctx.saved_tensors
        centred, rows = at_least_float32(saved), at_least_float32(_rows(gradient))
        total = rows.sum(1, keepdim=True)
        projected = (rows * centred).sum(1, keepdim=True) * scale
        factor = scale * weight
        voxels = rows.shape[1]
        result = torch.addcmul(
            total * factor / -voxels, centred, projected * scale * factor / -voxels
        )
        result.addcmul_(rows, factor)
        result = _like(result, gradient).to(gradient.dtype)
        return result, projected.sum((0, 1)), total.sum((0, 1)), None
