"""A block with its gradients: of what lies between its ends, only the convolution's result is kept.

The expanded activations, several times as wide, are never whole in memory: the backward pass
computes them again, piece by piece. That is one product more for several passes over memory less.
Sums over voxels are made in a fixed number of parts, so the number of threads changes no bit; of
bfloat16 oneDNN makes some sums, whose last bits it does change.
"""

import ctypes
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mednext_cli.networks.mednext.native import arranged, bfloat16
from mednext_cli.networks.mednext.native.library import BottleneckBackward, Library, Taps
from mednext_cli.networks.mednext.native.operators import (
    PIECE,
    Bottleneck,
    Depthwise,
    convolve,
    expansion_with_norm,
    first,
    is_half,
    last,
    multiplies_in_bfloat16,
    name_of,
    pointer,
    run_bottleneck,
    run_convolution,
    scale_and_shift,
    turned,
)
from mednext_cli.networks.mednext.native.threads import parts_of, run_parts

_PARTS = 8  # sums over voxels: the same for any number of threads


def train_block(
    library: Library | None,
    x: Tensor,
    depthwise: Depthwise,
    bottleneck: Bottleneck,
    residual: Tensor | None,
) -> Tensor:
    """`operators.block` with gradients for the image, the residual and all weights."""
    (weight, bias, stride, transposed), (norm, epsilon, expand, compress) = depthwise, bottleneck
    result = _Block.apply(  # type: ignore[no-untyped-call]
        library, stride, transposed, epsilon, x, residual, weight, bias, *norm, *expand, *compress
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
        x: Tensor,
        residual: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        ctx.library, ctx.stride, ctx.transposed, ctx.epsilon = library, stride, transposed, epsilon
        depthwise, bottleneck = _named(ctx, weights)
        with torch.autocast("cpu", enabled=False):
            mixed, *statistics = convolve(library, x, depthwise)
            ctx.save_for_backward(x, mixed, *statistics, *weights)
            return first(run_bottleneck(library, last(mixed), statistics, bottleneck, residual))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, mixed, mean, variance, *weights = ctx.saved_tensors
        depthwise, bottleneck = _named(ctx, weights)
        needs_x, needs_residual = ctx.needs_input_grad[4:6]
        with torch.autocast("cpu", enabled=False):
            found = _bottleneck_backward(
                ctx.library, last(mixed), last(gradient), bottleneck, (mean, variance)
            )
            x_gradient, taps, bias = _depthwise_backward(
                ctx.library, x, found.mixed, depthwise, needs_x
            )
        return (
            *(None,) * 4,
            x_gradient,
            gradient if needs_residual else None,
            *(taps, bias, *found.weights),
        )


def _depthwise_backward(
    library: Library | None, x: Tensor, gradient: Tensor, depthwise: Depthwise, needs_x: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Of the image, where that is wanted, of weight (C, 1, K, K, K) and of bias (C,)."""
    bias = gradient.sum((0, 1, 2, 3), dtype=torch.float32)
    if library is None:
        weight, _, stride, transposed = depthwise
        of_image, of_taps = arranged.gradients(
            x, first(gradient), weight, stride, transposed, needs_x
        )
        return of_image, of_taps, bias
    of_taps = _weight_gradient(library, x, gradient, depthwise)
    of_image = _image_gradient(library, x, gradient, depthwise) if needs_x else None
    return of_image, of_taps, bias


def _named(ctx: Any, weights: Any) -> tuple[Depthwise, Bottleneck]:  # noqa: ANN401 - see above
    weight, bias, norm, norm_bias, expand, expand_bias, compress, compress_bias = weights
    depthwise = Depthwise(weight, bias, ctx.stride, ctx.transposed)
    return depthwise, Bottleneck(
        (norm, norm_bias), ctx.epsilon, (expand, expand_bias), (compress, compress_bias)
    )


class _Gradients(NamedTuple):
    """Of the convolution's result (B, D, H, W, C), and of norm, expansion and compression."""

    mixed: Tensor
    weights: tuple[Tensor, ...]


def _bottleneck_backward(
    library: Library | None,
    rows: Tensor,
    gradient: Tensor,
    bottleneck: Bottleneck,
    statistics: tuple[Tensor, Tensor],
) -> _Gradients:
    """Gradients through the bottleneck, and through the norm's mean and variance.

    With the norm as x s + t and e = W (x s + t) + b, the kernels give sums G of x times the
    gradient of e, and B of the gradient of e: W has s G + t B, s has W G, and t has W B.
    """
    mean, variance = statistics
    scale, shift = scale_and_shift(bottleneck, mean, variance)
    expand = bottleneck.expand[0].detach().flatten(1)
    result, voxels = torch.empty_like(rows), rows[0, ..., 0].numel()
    expand_gradient, expand_bias = torch.zeros_like(expand), expand.new_zeros(len(expand))
    of_scale, of_shift = torch.zeros_like(scale), torch.zeros_like(shift)
    compress_sums, lines = [], []
    for sample in range(len(rows)):
        of_sample = rows[sample], gradient[sample], result[sample]
        folded = expansion_with_norm(bottleneck, scale[sample], shift[sample])
        if library is None or multiplies_in_bfloat16(library, rows):
            sums = bfloat16.sum_rows(
                library,
                [one.flatten(0, -2) for one in of_sample],
                bfloat16.expansion_of(folded, mean[sample]),
                (expand, bottleneck.compress[0].detach().flatten(1)),
            )
        else:
            sums = _sums(library, of_sample, bottleneck, folded)
        outer, bias = sums[0].t(), sums[1]
        expand_gradient.addcmul_(outer, scale[sample].float())
        expand_gradient.addr_(bias, shift[sample].float())
        expand_bias += bias
        of_scale[sample] = torch.linalg.vecdot(expand, outer, dim=0)
        of_shift[sample] = expand.t() @ bias
        compress_sums.append(sums[2:4])
        lines += [sums[4:]] if sums[4:] else []
    deviation = (variance + bottleneck.epsilon).rsqrt()
    of_scale -= of_shift * mean
    of_variance = of_scale * bottleneck.norm[0].detach().double() * deviation.pow(3) / -2
    slope = 2 * of_variance / voxels
    constant = -of_shift * scale / voxels - slope * mean
    for sample, sums in enumerate(lines):
        moments = mean[sample], variance[sample] + bottleneck.epsilon
        slope[sample], constant[sample] = bfloat16.centring(sums, scale[sample], *moments, voxels)
    _add_line(library, result, rows, (slope, constant, scale))
    compress, compress_bias = (torch.stack(one).sum(0) for one in zip(*compress_sums, strict=True))
    found = (
        (of_scale * deviation).sum(0),
        of_shift.sum(0),
        expand_gradient.reshape(bottleneck.expand[0].shape),
        expand_bias,
        compress.t().reshape(bottleneck.compress[0].shape),
        compress_bias,
    )
    return _Gradients(result, tuple(one.float().contiguous() for one in found))


def _add_line(
    library: Library | None,
    result: Tensor,
    rows: Tensor,
    of_line: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Add rows * slope + constant, of each sample and channel; in bfloat16 scale what is there."""
    slope, constant, scale = of_line
    if is_half(rows):
        for sample, *line in zip(range(len(rows)), slope.float(), constant.float(), strict=True):
            back, image = (one[sample].flatten(0, -2) for one in (result, rows))
            bfloat16.add_line(library, back, scale[sample].float(), image, *line)
        return
    shape = (len(rows), 1, 1, 1, -1)
    result.addcmul_(rows, slope.float().view(shape)).add_(constant.float().view(shape))


def _sums(
    library: Library,
    rows: tuple[Tensor, Tensor, Tensor],
    bottleneck: Bottleneck,
    expansion: tuple[Tensor, Tensor],
) -> list[Tensor]:
    """Fill the third of the rows, the gradient of the first, and sum over the voxels.

    In bfloat16 the norm's scale is left out of that gradient, see `bfloat16.add_line`.

    Returns:
        (C, R C), (R C,), (R C, C') and (C',): of the expansion with the norm in it, without what
        its shift adds, and of the compression.
    """
    x, gradient, result = rows
    weight, bias = expansion
    (channels, hidden), out = weight.shape, gradient.shape[-1]
    turned_weight = weight.t().contiguous()
    if is_half(x):
        turned_weight = bottleneck.expand[0].detach().flatten(1).contiguous()
    compress = bottleneck.compress[0].detach().flatten(1).contiguous()
    parts = parts_of(x[..., 0].numel(), PIECE, _PARTS)
    shapes = ((channels, hidden), (hidden,), (hidden, out), (out,))
    sums = [weight.new_zeros((len(parts), *shape)) for shape in shapes]

    def work(part: int, begin: int, end: int) -> None:
        scratch = x.new_empty((2, PIECE, hidden + channels + out), dtype=torch.float32)
        given = BottleneckBackward(
            pointer(x, begin * channels),
            pointer(gradient, begin * out),
            *map(pointer, (weight, turned_weight, bias, compress)),
            pointer(result, begin * channels),
            *(pointer(one[part]) for one in sums),
            pointer(scratch),
            *(end - begin, PIECE, channels, hidden, out, is_half(x)),
        )
        library.calls.mednext_bottleneck_backward(ctypes.byref(given))

    run_parts(parts, work, x)
    return [one.sum(0) for one in sums]


def _image_gradient(library: Library, x: Tensor, gradient: Tensor, depthwise: Depthwise) -> Tensor:
    """A convolution has the transposed one's, and the other way round."""
    kernel, stride, transposed = depthwise.weight.shape[-1], depthwise.stride, depthwise.transposed
    taps = turned(depthwise.weight.detach())
    if not transposed and stride == 1:
        taps, name = taps.flip(0, 1, 2).contiguous(), name_of(kernel, 1, transposed=False)
    else:
        name = name_of(kernel, 2, transposed=not transposed)
    return first(run_convolution(library, name, gradient, taps, list(x.shape[2:])))


def _weight_gradient(library: Library, x: Tensor, gradient: Tensor, depthwise: Depthwise) -> Tensor:
    """Of weight (C, 1, K, K, K)."""
    image, channels = last(x), x.shape[1]
    kernel, stride = depthwise.weight.shape[-1], depthwise.stride
    large, small = (gradient, image) if depthwise.transposed else (image, gradient)
    call = getattr(library.calls, f"mednext_weight_gradient_k{kernel}_s{stride}")
    parts = parts_of(small.shape[1], 1, _PARTS)
    sums = depthwise.weight.new_zeros((len(x), len(parts), *(kernel,) * 3, channels))
    for sample in range(len(x)):

        def work(part: int, begin: int, end: int, sample: int = sample) -> None:
            # The kernel sees whole images of float32; it looks at these planes alone.
            first_plane, last_plane = begin * stride - kernel // 2, (end - 1) * stride + kernel // 2
            first_plane = max(first_plane, 0)
            seen = large[sample, first_plane : last_plane + 1].float()
            own = small[sample, begin:end].float()
            given = Taps(
                pointer(seen, -first_plane * seen[0].numel()),
                pointer(own, -begin * own[0].numel()),
                pointer(sums[sample, part]),
                *large.shape[1:4],
                *small.shape[2:4],
                channels,
            )
            call(ctypes.byref(given), ctypes.c_ssize_t(begin), ctypes.c_ssize_t(end))

        run_parts(parts, work, x)
    return sums.sum((0, 1)).permute(3, 0, 1, 2)[:, None].contiguous()
