"""The norm of each channel over its voxels, and the inverted bottleneck behind it."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mednext_cli.networks.mednext.cpu.memory import as_image, rows_of
from mednext_cli.networks.mednext.cpu.precision import at_least_float32
from mednext_cli.networks.mednext.cpu.products import ONEDNN_BATCH, linear

_PIECE = 1 << 18  # expanded activations worked on at once: 1 MiB in float32


def spatial_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Group norm with one channel a group, of (B, C, ...): each channel over its own voxels."""
    if torch.is_grad_enabled():
        return cast("Tensor", _SpatialNorm.apply(x, weight, bias, epsilon))  # type: ignore[no-untyped-call]
    return _normalise(x, weight, bias, epsilon)[0]


def _normalise(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The result, the centred rows (B, voxels, C) and 1 / standard deviation (B, 1, C)."""
    rows = at_least_float32(rows_of(x))
    centred = rows - rows.mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + epsilon).rsqrt()
    result = as_image(torch.addcmul(bias, centred, scale * weight), x)
    return result.to(x.dtype), centred.to(x.dtype), scale


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
    rows = rows_of(x)
    weight, bias, epsilon = norm
    piece = ONEDNN_BATCH * max(_PIECE // len(expand[0]) // ONEDNN_BATCH, 1)
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
        result += rows_of(residual)
    return as_image(result, x)


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
        centred, rows = at_least_float32(saved), at_least_float32(rows_of(gradient))
        total = rows.sum(1, keepdim=True)
        projected = (rows * centred).sum(1, keepdim=True) * scale
        factor = scale * weight
        voxels = rows.shape[1]
        result = torch.addcmul(
            total * factor / -voxels, centred, projected * scale * factor / -voxels
        )
        result.addcmul_(rows, factor)
        result = as_image(result, gradient).to(gradient.dtype)
        return result, projected.sum((0, 1)), total.sum((0, 1)), None
