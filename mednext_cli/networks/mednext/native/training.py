"""A block with its gradients: of what lies between its ends, only the convolution's result is kept.

The expanded activations, several times as wide, are never whole in memory: the backward pass
computes them again, piece by piece. That is one product more for several passes over memory less.
Sums over voxels are made in a fixed number of parts, so the number of threads changes no bit; of
bfloat16 oneDNN makes some sums, whose last bits it does change.
"""

import ctypes
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.native import arranged
from mednext_cli.networks.mednext.native.bottleneck_backward import bottleneck_backward
from mednext_cli.networks.mednext.native.layers import Bottleneck, Depthwise
from mednext_cli.networks.mednext.native.library import Library, Taps, pointer
from mednext_cli.networks.mednext.native.operators import (
    convolve,
    first,
    is_for_even,
    is_half,
    last,
    name_of,
    run_bottleneck,
    run_convolution,
    turned,
)
from mednext_cli.networks.mednext.native.threads import PARTS, parts_of, run_parts, share_parts


def train_block(
    library: Library | None,
    x: Tensor,
    depthwise: Depthwise,
    bottleneck: Bottleneck,
    residual: Tensor | None,
) -> Tensor:
    """`operators.block` with gradients for the image, the residual and all weights."""
    (weight, bias, stride, transposed), (norm, epsilon, expand, compress) = depthwise, bottleneck
    # The gradient of an image that is kept joins that of the convolved one where that is made.
    kept = residual is x and stride == 1 and not transposed
    way = library, stride, transposed, epsilon, kept
    result = _Block.apply(  # type: ignore[no-untyped-call]
        *way, x, None if kept else residual, weight, bias, *norm, *expand, *compress
    )
    return cast("Tensor", result)


class _Block(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context has no public type
        library: Library | None,
        stride: int,
        transposed: bool,
        epsilon: float,
        kept: bool,
        x: Tensor,
        residual: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        ctx.library, ctx.stride, ctx.transposed, ctx.epsilon = library, stride, transposed, epsilon
        ctx.kept, residual = kept, x if kept else residual
        depthwise, bottleneck = _named(ctx, weights)
        ctx.even = residual is not None and is_for_even(residual, x, depthwise)
        whole = None if ctx.even else residual
        with torch.autocast("cpu", enabled=False):
            mixed, *statistics = convolve(library, x, depthwise)
            ctx.save_for_backward(x, mixed, *statistics, *weights)
            result = first(run_bottleneck(library, last(mixed), statistics, bottleneck, whole))
            return cpu.add_at_even(result, cast("Tensor", residual)) if ctx.even else result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, mixed, mean, variance, *weights = ctx.saved_tensors
        depthwise, bottleneck = _named(ctx, weights)
        needs_x, needs_residual = ctx.needs_input_grad[5:7]
        with torch.autocast("cpu", enabled=False):
            found = bottleneck_backward(
                ctx.library, last(mixed), last(gradient), bottleneck, (mean, variance)
            )
            x_gradient, taps, bias = _depthwise_backward(
                ctx.library, x, found.mixed, depthwise, needs_x, gradient if ctx.kept else None
            )
        of_residual = gradient
        if ctx.even and needs_residual:
            of_residual = cpu.channels_last(gradient[:, :, ::2, ::2, ::2])
        return (
            *(None,) * 5,
            x_gradient,
            of_residual if needs_residual else None,
            *(taps, bias, *found.weights),
        )


def _depthwise_backward(
    library: Library | None,
    x: Tensor,
    gradient: Tensor,
    depthwise: Depthwise,
    needs_x: bool,
    residual: Tensor | None,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Of the image, where that is wanted, of weight (C, 1, K, K, K) and of bias (C,).

    The residual's gradient is added to that of the image.
    """
    # A norm takes away what the bias adds: its gradient is 0, and a sum would be noise alone, which
    # Adam makes whole steps of.
    bias = torch.zeros_like(depthwise.bias)
    if library is None:
        weight, _, stride, transposed = depthwise
        of_image, of_taps = arranged.gradients(
            x, first(gradient), weight, stride, transposed, needs_x
        )
        if of_image is not None and residual is not None:
            of_image += residual
        return of_image, of_taps, bias
    of_taps = _weight_gradient(library, x, gradient, depthwise)
    of_image = _image_gradient(library, x, gradient, depthwise, residual) if needs_x else None
    return of_image, of_taps, bias


def _named(ctx: Any, weights: Any) -> tuple[Depthwise, Bottleneck]:  # noqa: ANN401 - see above
    weight, bias, norm, norm_bias, expand, expand_bias, compress, compress_bias = weights
    depthwise = Depthwise(weight, bias, ctx.stride, ctx.transposed)
    return depthwise, Bottleneck(
        (norm, norm_bias), ctx.epsilon, (expand, expand_bias), (compress, compress_bias)
    )


def _image_gradient(
    library: Library, x: Tensor, gradient: Tensor, depthwise: Depthwise, residual: Tensor | None
) -> Tensor:
    """A convolution has the transposed one's, and the other way round."""
    kernel, stride, transposed = depthwise.weight.shape[-1], depthwise.stride, depthwise.transposed
    taps, added = turned(depthwise.weight.detach()), None
    if not transposed and stride == 1:
        taps, name = taps.flip(0, 1, 2).contiguous(), name_of(kernel, 1, transposed=False)
        added = None if residual is None else last(residual)
    else:
        name = name_of(kernel, 2, transposed=not transposed)
    size = list(x.shape[2:])
    return first(run_convolution(library, name, gradient, taps, size, added=added))


def _weight_gradient(library: Library, x: Tensor, gradient: Tensor, depthwise: Depthwise) -> Tensor:
    """Of weight (C, 1, K, K, K)."""
    image, channels = last(x), x.shape[1]
    kernel, stride = depthwise.weight.shape[-1], depthwise.stride
    large, small = (gradient, image) if depthwise.transposed else (image, gradient)
    call = getattr(library.calls, f"mednext_weight_gradient_k{kernel}_s{stride}")
    planes, parts = small.shape[1], parts_of(small.shape[1], 1, PARTS)
    sums = depthwise.weight.new_empty((len(x), len(parts), *(kernel,) * 3, channels))
    half = is_half(x)
    for sample in range(len(x)):

        def work(begin: int, end: int, sample: int = sample) -> None:
            seen, own, before = large[sample], small[sample], (0, 0)
            if half:  # the kernel takes whole images of float32, and looks at these planes alone
                begin_plane, end_plane = parts[begin][0], parts[end - 1][1]
                first_plane = max(begin_plane * stride - kernel // 2, 0)
                seen = seen[first_plane : (end_plane - 1) * stride + kernel // 2 + 1].float()
                own, before = own[begin_plane:end_plane].float(), (first_plane, begin_plane)
            given = Taps(
                pointer(seen, -before[0] * seen[0].numel()),
                pointer(own, -before[1] * own[0].numel()),
                pointer(sums[sample]),
                *large.shape[1:4],
                *(planes, *small.shape[2:4], channels, parts[0][1]),
            )
            call(ctypes.byref(given), ctypes.c_ssize_t(begin), ctypes.c_ssize_t(end))

        if half:  # never more than a part of the image is widened
            each = [(part, part + 1) for part in range(len(parts))]
            run_parts(each, work, x)
        else:
            operations = 2 * small[sample].numel() * kernel**3
            share_parts(len(parts), operations, work, x)
    return sums.sum((0, 1)).permute(3, 0, 1, 2)[:, None].contiguous()
