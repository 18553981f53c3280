"""The block behind its depthwise convolution as a PyTorch operator: `mednext::bottleneck`."""

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional as F

from mednext_cli.networks.mednext.kernels import block_launches as launches
from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.availability import device_of
from mednext_cli.networks.mednext.kernels.convolution import autocast
from mednext_cli.networks.mednext.kernels.depthwise import depthwise, first, last
from mednext_cli.networks.mednext.kernels.tensor_cores import operator as tensor_cores

_Seven = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _matrix(weight: Tensor, like: Tensor) -> Tensor:
    """A 1x1x1 convolution's weight as a contiguous matrix in the type of the image."""
    return weight.detach().flatten(1).to(like.dtype).contiguous()


def _given(
    z: Tensor, scale: Tensor, shift: Tensor, expand: Tensor, expand_bias: Tensor, compress: Tensor
) -> launches.Given:
    return launches.Given(
        last(z.detach()),
        scale.contiguous(),
        shift.contiguous(),
        _matrix(expand, z),
        expand_bias.contiguous(),
        _matrix(compress, z),
    )


def _rows(added: Tensor | None) -> Tensor | None:
    return None if added is None else last(added.detach())


def _result_type(z: Tensor, *added: Tensor | None) -> torch.dtype:
    """The type of a sum, as of PyTorch's own operators."""
    kinds = (one.dtype for one in added if one is not None)
    return reduce(torch.promote_types, kinds, z.dtype)


@custom_op("mednext::bottleneck", mutates_args=())
def bottleneck(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    compress: Tensor,
    compress_bias: Tensor,
    residual: Tensor | None,
    skip: Tensor | None,
    padded: bool,
) -> Tensor:
    """compress(gelu(expand(z * scale + shift))) + residual + skip.

    z (N, C, D, H, W), scale and shift (N, C), weights of 1x1x1 convolutions, residual and skip as
    the result: (N, out, D, H, W). With `padded` the result has a plane of zeros before the first
    along each axis, to which only `skip` is added, and the residual belongs to every second voxel
    from the second on: (N, out, d, h, w) where the result is (N, out, 2d, 2h, 2w).
    """
    given = _given(z, scale, shift, expand, expand_bias, compress)
    bias, dtype = compress_bias.contiguous(), _result_type(z, residual, skip)
    added = _rows(residual), _rows(skip)
    with device_of(z):
        return first(launches.forward(given, bias, *added, padded, dtype))


@bottleneck.register_fake
def _(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    compress: Tensor,
    compress_bias: Tensor,
    residual: Tensor | None,
    skip: Tensor | None,
    padded: bool,
) -> Tensor:
    plane = int(padded)  # sizes that are symbols take no truth values
    shape = (z.shape[0], *(size + plane for size in z.shape[2:]), compress.shape[0])
    return first(z.new_empty(shape, dtype=_result_type(z, residual, skip)))


@custom_op("mednext::bottleneck_backward", mutates_args=())
def bottleneck_backward(
    gradient: Tensor,
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    compress: Tensor,
    padded: bool,
) -> _Seven:
    """Gradients of z, scale, shift, expand and its bias, compress and its bias."""
    given, rows = _given(z, scale, shift, expand, expand_bias, compress), last(gradient)
    with device_of(z):
        z_gradient, sums, total = launches.input_gradient(given, rows, padded)
        taps = launches.weight_gradient(given, rows, padded)
    channels = z.shape[1]
    return (
        first(z_gradient),
        sums[:, :channels].to(scale.dtype, copy=True),
        sums[:, channels:].to(shift.dtype, copy=True),
        taps[:, :channels].to(expand.dtype, copy=True).reshape(expand.shape),
        taps[:, -1].to(expand_bias.dtype, copy=True),
        taps[:, channels:-1].t().to(compress.dtype).reshape(compress.shape).contiguous(),
        total.to(expand_bias.dtype),
    )


@bottleneck_backward.register_fake
def _(
    gradient: Tensor,
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    compress: Tensor,
    padded: bool,
) -> _Seven:
    return (
        first(z.new_empty((z.shape[0], *z.shape[2:], z.shape[1]))),
        scale.new_empty(scale.shape),
        shift.new_empty(shift.shape),
        expand.new_empty(expand.shape),
        expand_bias.new_empty(expand_bias.shape),
        compress.new_empty(compress.shape),
        expand_bias.new_empty(compress.shape[0]),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
    ctx.added = [None if one is None else one.dtype for one in inputs[7:9]]
    ctx.padded = inputs[9]
    ctx.save_for_backward(*inputs[:6])


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    found = bottleneck_backward(gradient, *ctx.saved_tensors, ctx.padded)
    residual, skip = ctx.added
    coarse = gradient[:, :, 1::2, 1::2, 1::2] if ctx.padded else gradient
    return (
        *found,
        None if residual is None else coarse.to(residual),
        None if skip is None else gradient.to(skip),
        None,
    )


bottleneck.register_autograd(_backward, setup_context=_save)


def _library(
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    compress: Tensor,
    compress_bias: Tensor,
    residual: Tensor | None,
    skip: Tensor | None,
    padded: bool,
) -> Tensor:
    """The same by the library's matrix products, which write the expanded activations."""
    rows, (batch, channels) = last(z), z.shape[:2]
    shape = (batch, 1, 1, 1, channels)
    h = torch.addcmul(shift.view(shape), rows.to(scale.dtype), scale.view(shape)).to(z.dtype)
    e = F.gelu(F.linear(h, expand.flatten(1).to(h.dtype), expand_bias.to(h.dtype)))
    y = first(F.linear(e, compress.flatten(1).to(h.dtype), compress_bias.to(h.dtype)))
    if padded:
        y = F.pad(y, (1, 0) * 3).to(_result_type(y, residual))
        if residual is not None:
            y[:, :, 1::2, 1::2, 1::2] += residual
    elif residual is not None:
        y = y + residual
    return y if skip is None else y + skip


def block(
    x: Tensor,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    epsilon: float,
    bottleneck_weights: tuple[Tensor, Tensor, Tensor, Tensor],
    residual: Tensor | None,
    stride: int = 1,
    transposed: bool = False,
    skip: Tensor | None = None,
    on_tensor_cores: bool = False,
) -> Tensor:
    """A whole MedNeXt block: depthwise convolution, group norm of one channel a group, the rest.

    Args:
        x: (N, C, D, H, W).
        depthwise_weight: (C, 1, K, K, K), K 3, 5 or 7.
        depthwise_bias: (C,).
        norm_weight: (C,).
        norm_bias: (C,).
        epsilon: of the norm.
        bottleneck_weights: weight and bias of the expansion, weight and bias of the compression.
        residual: added to the result, or None; see `bottleneck` for a transposed convolution's.
        stride: of the depthwise convolution.
        transposed: whether it is transposed, with stride 2; then a plane of zeros before the first
            along each axis makes 2n voxels of n, as published.
        skip: added to the result, or None.
        on_tensor_cores: whether the depthwise convolution is, where these take it.
    """
    convolve = tensor_cores.depthwise if on_tensor_cores else depthwise
    z, mean, variance = convolve(
        autocast(x), depthwise_weight, depthwise_bias, stride, transposed, True
    )
    scale = norm_weight * (variance + epsilon).rsqrt()
    shift = norm_bias - mean * scale
    expand, _, compress, _ = bottleneck_weights
    fused = tiles.is_fused(expand.shape[1], compress.shape[0], z.element_size())
    run = bottleneck if fused else _library
    result: Tensor = run(z, scale, shift, *bottleneck_weights, residual, skip, transposed)
    return result
