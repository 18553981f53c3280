"""The block behind its depthwise convolution as a PyTorch operator: `mednext::bottleneck`."""

from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional as F

from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.availability import device_of, is_interpreted
from mednext_cli.networks.mednext.kernels.convolution import autocast
from mednext_cli.networks.mednext.kernels.depthwise import depthwise, first, last

_Seven = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _constants(z: Tensor, expand: Tensor, out_channels: int) -> dict[str, Any]:
    import triton.language as tl

    kinds = {
        torch.float16: tl.float16,
        torch.bfloat16: tl.bfloat16,
        torch.float32: tl.float32,
        torch.float64: tl.float64,
    }
    if is_interpreted():
        # The interpreter takes the bits of bfloat16 for integers when it multiplies matrices.
        kinds[torch.bfloat16] = tl.float32
    hidden, channels = expand.shape[:2]
    return {
        "C": channels,
        "HIDDEN": hidden,
        "OUT": out_channels,
        "BC": tiles.power_of_two(max(channels, 16)),
        "BO": tiles.power_of_two(max(out_channels, 16)),
        "KIND": kinds[z.dtype],
        "ACC": tl.float64 if z.dtype is torch.float64 else tl.float32,
    }


def _matrix(weight: Tensor, like: Tensor) -> Tensor:
    """A 1x1x1 convolution's weight as a contiguous matrix in the type of the image."""
    return weight.detach().flatten(1).to(like.dtype).contiguous()


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
) -> Tensor:
    """compress(gelu(expand(z * scale + shift))) + residual.

    z (N, C, D, H, W), scale and shift (N, C), weights of 1x1x1 convolutions, residual as the
    result: (N, out, D, H, W).
    """
    from mednext_cli.networks.mednext.kernels import block_kernels as kernels

    image, out = last(z.detach()), compress.shape[0]
    y = torch.empty((*image.shape[:-1], out), dtype=z.dtype, device=z.device)
    voxels, itemsize = image.shape[1:4].numel(), z.element_size()
    tile = tiles.block_tile(z.shape[1], expand.shape[0], out, itemsize)
    added = y if residual is None else last(residual.detach()).to(z.dtype)
    with device_of(z):
        kernels.forward[ceil(voxels / tile.rows), len(image)](
            image,
            scale.contiguous(),
            shift.contiguous(),
            _matrix(expand, z),
            expand_bias.contiguous(),
            _matrix(compress, z),
            compress_bias.contiguous(),
            added,
            y,
            voxels,
            RESIDUAL=residual is not None,
            BM=tile.rows,
            BH=tile.hidden,
            num_warps=tile.warps,
            **_constants(z, expand, out),
        )
    return first(y)


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
) -> Tensor:
    return first(z.new_empty((z.shape[0], *z.shape[2:], compress.shape[0])))


@custom_op("mednext::bottleneck_backward", mutates_args=())
def bottleneck_backward(
    gradient: Tensor,
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    compress: Tensor,
) -> _Seven:
    """Gradients of z, scale, shift, expand and its bias, compress and its bias."""
    image, rows = last(z), last(gradient)
    given = (
        image,
        scale.contiguous(),
        shift.contiguous(),
        _matrix(expand, z),
        expand_bias.contiguous(),
        _matrix(compress, z),
        rows,
    )
    constants = _constants(z, expand, compress.shape[0])
    with device_of(z):
        z_gradient, sums = _input_gradient(given, constants)
        taps = _weight_gradient(given, constants)
    channels = z.shape[1]
    return (
        first(z_gradient),
        sums[:, 0].to(scale.dtype, copy=True),
        sums[:, 1].to(shift.dtype, copy=True),
        taps[:, :channels].to(expand.dtype, copy=True).reshape(expand.shape),
        taps[:, -1].to(expand_bias.dtype, copy=True),
        taps[:, channels:-1].t().to(compress.dtype).reshape(compress.shape).contiguous(),
        rows.sum((0, 1, 2, 3), dtype=scale.dtype).to(expand_bias.dtype),
    )


def _input_gradient(given: tuple[Tensor, ...], constants: dict[str, Any]) -> tuple[Tensor, Tensor]:
    from mednext_cli.networks.mednext.kernels import block_kernels as kernels

    image, scale = given[:2]
    voxels = image.shape[1:4].numel()
    channels, hidden, out = (constants[name] for name in ("C", "HIDDEN", "OUT"))
    tile = tiles.block_tile(channels, hidden, out, image.element_size())
    blocks = ceil(voxels / tile.rows)
    result = torch.empty_like(image)
    partials = scale.new_empty((len(image), blocks, 2, channels))
    kernels.input_gradient[blocks, len(image)](
        *given,
        result,
        partials,
        voxels,
        BM=tile.rows,
        BH=tile.hidden,
        num_warps=tile.warps,
        **constants,
    )
    return result, partials.sum(1)


def _weight_gradient(given: tuple[Tensor, ...], constants: dict[str, Any]) -> Tensor:
    """(HIDDEN, C + OUT + 1), added up in a second step: the same in every run."""
    from mednext_cli.networks.mednext.kernels import block_kernels as kernels

    image, scale = given[:2]
    voxels = image.shape[1:4].numel()
    channels, hidden, out = (constants[name] for name in ("C", "HIDDEN", "OUT"))
    tile = tiles.block_weight_tile(channels, hidden, out, image.element_size())
    blocks = ceil(voxels / tile.rows)
    chunks = ceil(hidden / tile.hidden)
    splits = max(min(blocks * len(image), tiles.PROGRAMS // chunks), 1)
    partials = scale.new_empty((splits, hidden, channels + out + 1))
    kernels.weight_gradient[chunks, splits](
        *given,
        partials,
        voxels,
        len(image),
        blocks,
        splits,
        BM=tile.rows,
        BH=tile.hidden,
        num_warps=tile.warps,
        **constants,
    )
    return partials.sum(0)


@bottleneck_backward.register_fake
def _(
    gradient: Tensor,
    z: Tensor,
    scale: Tensor,
    shift: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    compress: Tensor,
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
    ctx.residual = None if inputs[7] is None else inputs[7].dtype
    ctx.save_for_backward(*inputs[:6])


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    found = bottleneck_backward(gradient, *ctx.saved_tensors)
    return *found, None if ctx.residual is None else gradient.to(ctx.residual)


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
) -> Tensor:
    """The same by the library's matrix products, which write the expanded activations."""
    rows, (batch, channels) = last(z), z.shape[:2]
    shape = (batch, 1, 1, 1, channels)
    h = torch.addcmul(shift.view(shape), rows.to(scale.dtype), scale.view(shape)).to(z.dtype)
    e = F.gelu(F.linear(h, expand.flatten(1).to(h.dtype), expand_bias.to(h.dtype)))
    y = first(F.linear(e, compress.flatten(1).to(h.dtype), compress_bias.to(h.dtype)))
    return y if residual is None else y + residual


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
        residual: added to the result, or None.
        stride: of the depthwise convolution.
        transposed: whether it is transposed, with stride 2.
    """
    z, mean, variance = depthwise(
        autocast(x), depthwise_weight, depthwise_bias, stride, transposed, True
    )
    scale = norm_weight * (variance + epsilon).rsqrt()
    shift = norm_bias - mean * scale
    expand, _, compress, _ = bottleneck_weights
    fused = tiles.is_fused(expand.shape[1], compress.shape[0], z.element_size())
    run = bottleneck if fused else _library
    result: Tensor = run(z, scale, shift, *bottleneck_weights, residual)
    return result
