"""The depthwise convolution on tensor cores as a PyTorch operator, and its gradients.

`mednext::depthwise_tensor_cores` has the contract of `mednext::depthwise`, in bfloat16 and float16.
Taps are rounded to the image's type, as PyTorch's own convolution does under autocast; sums are
made in float32. The kernels are compiled when they first run.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from mednext_cli.networks.mednext.kernels import depthwise as triton_operator
from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.availability import device_of
from mednext_cli.networks.mednext.kernels.depthwise import (
    first,
    last,
    moment_terms,
    output_shape,
)
from mednext_cli.networks.mednext.kernels.depthwise_launches import combine
from mednext_cli.networks.mednext.kernels.tensor_cores import driver
from mednext_cli.networks.mednext.kernels.tensor_cores.availability import takes
from mednext_cli.networks.mednext.kernels.tensor_cores.launching import Launcher, aligned
from mednext_cli.networks.mednext.kernels.tensor_cores.resampling import (
    coarse,
    fine_voxels,
    spread,
)
from mednext_cli.networks.mednext.kernels.tensor_cores.resampling import moments as moments_of
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import Variant

_Three = tuple[Tensor, Tensor, Tensor]


def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    transposed: bool,
    moments: bool,
) -> _Three:
    """Depthwise convolution, padded by half the kernel: on tensor cores, or else by Triton.

    An infinite or NaN voxel makes NaN of results up to 5 voxels beyond its kernel: zeros beside the
    taps are multiplied, too.

    Args:
        x: (N, C, D, H, W), as fast as can be with channels last in memory.
        weight: (C, 1, K, K, K).
        bias: (C,), or None.
        stride: 1 or 2.
        transposed: the transposed convolution, n voxels to 2n - 1.
        moments: whether to return mean and variance, too.

    Returns:
        The result (N, C, ...) in the type of `x`, channels last; its mean and biased variance,
        (N, C) in float32, or two empty tensors.

    Raises:
        RuntimeError: the kernels cannot be compiled or launched.
    """
    if x.numel() and takes(x.device, x.dtype, x.shape[1], weight.shape[-1]):
        found: _Three = depthwise_tensor_cores(x, weight, bias, stride, transposed, moments)
    else:
        found = triton_operator.depthwise(x, weight, bias, stride, transposed, moments)
    return found


def _launcher(x: Tensor, weight: Tensor) -> Launcher:
    variant = Variant(weight.shape[-1], x.dtype)
    return Launcher(driver.kernels_on(x.device, variant), variant)


def _plain(parameter: Tensor) -> Tensor:
    return parameter.detach().to(torch.float32).contiguous()


def _reversed(taps: Tensor) -> Tensor:
    return taps.flip(-3, -2, -1).contiguous()


@custom_op("mednext::depthwise_tensor_cores", mutates_args=())
def depthwise_tensor_cores(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, transposed: bool, moments: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator itself, for what `takes` takes."""
    image, taps = aligned(last(x.detach())), _plain(weight)
    added = None if bias is None else _plain(bias)
    with device_of(x):
        launcher = _launcher(x, weight)
        if transposed:
            image, taps = spread(image, fine_voxels(image)), _reversed(taps)
        if moments and (transposed or stride == 1):
            y, partials = launcher.convolve_with_moments(image, taps, added)
            return first(y), *combine(partials)
        y = launcher.convolve(image, taps, added, False)
        if stride == 2 and not transposed:
            y = coarse(y)
        mean, variance = moments_of(y) if moments else (taps.new_empty(0), taps.new_empty(0))
    return first(y), mean, variance


@depthwise_tensor_cores.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, transposed: bool, moments: bool
) -> tuple[Tensor, Tensor, Tensor]:
    shape = x.shape[:2] if moments else (0,)
    mean, variance = (x.new_empty(shape, dtype=torch.float32) for _ in range(2))
    voxels = output_shape(x, stride, transposed)
    return first(x.new_empty((x.shape[0], *voxels, x.shape[1]))), mean, variance


@custom_op("mednext::depthwise_tensor_cores_backward", mutates_args=())
def depthwise_tensor_cores_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    terms: Tensor | None,
    stride: int,
    transposed: bool,
    needs_input: bool,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, weight and bias; empty where not needed.

    With `y`, the result, and `terms`, as `depthwise.moment_terms` makes them, the gradient is what
    it says and what comes through mean and variance.
    """
    x_gradient, weight_gradient = x.new_empty(0), weight.new_empty(0)
    bias_gradient = weight.new_empty(0)
    rows = aligned(last(gradient))
    with device_of(x):
        launcher = _launcher(x, weight)
        if y is not None and terms is not None:
            rows = launcher.through_moments(rows, aligned(last(y)), terms.contiguous())
        if stride == 2 and not transposed:
            rows = spread(rows, tuple(x.shape[2:]))
        if needs_input:
            found = launcher.convolve(rows, _plain(weight), None, not transposed)
            x_gradient = first(coarse(found) if transposed else found)
        if needs_weight:
            image = aligned(last(x))
            image = spread(image, fine_voxels(image)) if transposed else image
            sums = launcher.weight_sums(image, rows).to(weight.dtype)
            weight_gradient = sums[:, :-1].reshape(weight.shape).contiguous()
            weight_gradient = _reversed(weight_gradient) if transposed else weight_gradient
            bias_gradient = sums[:, -1].clone()
    return x_gradient, weight_gradient, bias_gradient


@depthwise_tensor_cores_backward.register_fake
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
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    return (
        first(x.new_empty(shape)) if needs_input else x.new_empty(0),
        weight.new_empty(weight.shape if needs_weight else (0,)),
        weight.new_empty(weight.shape[0] if needs_weight else 0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
    x, weight, bias, ctx.stride, ctx.transposed, ctx.moments = inputs
    ctx.biased = bias is not None
    ctx.save_for_backward(x, weight, *(output[:2] if ctx.moments else ()))


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
    found = depthwise_tensor_cores_backward(
        gradient, x, weight, y, terms, ctx.stride, ctx.transposed, needs[0], needs[1] or needs[2]
    )
    wanted = (needs[0], needs[1], needs[2] and ctx.biased)
    given = (one if want else None for one, want in zip(found, wanted, strict=True))
    return *given, None, None, None


depthwise_tensor_cores.register_autograd(_backward, setup_context=_save)
