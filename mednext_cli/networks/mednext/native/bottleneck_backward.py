"""Gradients through norm, expansion, GELU and compression, and through the norm's statistics."""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from mednext_cli.networks.mednext.native import bfloat16, passes
from mednext_cli.networks.mednext.native.layers import Bottleneck
from mednext_cli.networks.mednext.native.library import BottleneckBackward, Library, pointer
from mednext_cli.networks.mednext.native.norm import Folding
from mednext_cli.networks.mednext.native.operators import (
    PIECE,
    expansion_with_norm,
    is_half,
    multiplies_in_bfloat16,
    scale_and_shift,
)
from mednext_cli.networks.mednext.native.threads import PARTS, parts_of, share_parts

Pair = tuple[Tensor, Tensor]


class Gradients(NamedTuple):
    """Of the convolution's result (B, D, H, W, C), and of norm, expansion and compression."""

    mixed: Tensor
    weights: tuple[Tensor, ...]


def bottleneck_backward(
    library: Library | None,
    rows: Tensor,
    gradient: Tensor,
    bottleneck: Bottleneck,
    statistics: Pair,
) -> Gradients:
    """All gradients of `operators.run_bottleneck` but that of the residual.

    Args:
        library: the kernels; None in bfloat16 is PyTorch's own operators.
        rows: (B, D, H, W, C), what the convolution gave.
        gradient: (B, D, H, W, C') of the result.
        bottleneck: the weights.
        statistics: mean and variance (B, C) of the rows, float64.
    """
    if library is None or multiplies_in_bfloat16(library, rows):
        return _by_products(library, rows, gradient, bottleneck, statistics)
    return _by_kernels(library, rows, gradient, bottleneck, statistics)


def _by_kernels(
    library: Library, rows: Tensor, gradient: Tensor, bottleneck: Bottleneck, statistics: Pair
) -> Gradients:
    folding, result, voxels = Folding(library, bottleneck), torch.empty_like(rows), rows[0, ..., 0]
    gradients = folding.new_gradients()
    for sample, (mean, variance) in enumerate(zip(*statistics, strict=True)):
        of_sample = rows[sample], gradient[sample], result[sample]
        sums = _sums(library, of_sample, folding, (mean, variance))
        line = folding.finish(sums, (mean, variance), gradients, voxels.numel())
        back, image = (one[sample].flatten(0, -2) for one in (result, rows))
        if not rows.is_meta:  # where PyTorch's operators would do it, and tell of their memory
            passes.add_line(library, back, image, *line)
    return Gradients(result, gradients)


def _sums(
    library: Library, rows: tuple[Tensor, Tensor, Tensor], folding: Folding, statistics: Pair
) -> Tensor:
    """Fill the third of the rows, the gradient of the first without the norm's scale.

    Returns:
        (parts, C R C + R C + R C C' + C'): sums over voxels as `Finish` in C takes them.
    """
    x, gradient, result = rows
    weight, bias = folding.fold(*statistics)
    channels, hidden, out = folding.channels, folding.hidden, folding.out
    count = x[..., 0].numel()
    parts = parts_of(count, PIECE, PARTS)
    size = (channels + 1) * hidden + (hidden + 1) * out
    sums = weight.new_empty((len(parts), size))

    def work(begin: int, end: int) -> None:
        scratch = weight.new_empty((2, PIECE, hidden + channels + out))
        arrays = (x, gradient, weight, bias, folding.expand, folding.compress, result)
        given = BottleneckBackward(
            *map(pointer, (*arrays, sums, scratch)),
            *(count, PIECE, parts[0][1], channels, hidden, out, is_half(x)),
        )
        call = library.calls.mednext_bottleneck_backward
        call(ctypes.byref(given), ctypes.c_ssize_t(begin), ctypes.c_ssize_t(end))

    operations = 2 * count * hidden * (3 * channels + 2 * out)
    share_parts(len(parts), operations, work, x)
    return sums


def _by_products(
    library: Library | None,
    rows: Tensor,
    gradient: Tensor,
    bottleneck: Bottleneck,
    statistics: Pair,
) -> Gradients:
    """In bfloat16, where oneDNN multiplies. The same formulas as in norm.c, see `Finish` there."""
    mean, variance = statistics
    scale, shift = scale_and_shift(bottleneck, mean, variance)
    expand, compress = (one[0].detach().flatten(1) for one in bottleneck[2:])
    result, voxels = torch.empty_like(rows), rows[0, ..., 0].numel()
    expand_gradient, expand_bias = torch.zeros_like(expand), expand.new_zeros(len(expand))
    of_scale, of_shift = torch.zeros_like(scale), torch.zeros_like(shift)
    compress_sums = []
    for sample in range(len(rows)):
        back, image = result[sample].flatten(0, -2), rows[sample].flatten(0, -2)
        folded = expansion_with_norm(bottleneck, scale[sample], shift[sample])
        sums = bfloat16.sum_rows(
            library,
            (image, gradient[sample].flatten(0, -2), back),
            bfloat16.expansion_of(folded, mean[sample]),
            (expand, compress),
        )
        outer, bias = sums[0].t(), sums[1]
        expand_gradient.addcmul_(outer, scale[sample].float())
        expand_gradient.addr_(bias, shift[sample].float())
        expand_bias += bias
        of_scale[sample] = torch.linalg.vecdot(expand, outer, dim=0)
        of_shift[sample] = expand.t() @ bias
        compress_sums.append(sums[2:4])
        moments = mean[sample], variance[sample] + bottleneck.epsilon
        line = bfloat16.centring(sums[4:], scale[sample], *moments, voxels)
        slope, constant = (one.float() for one in line)
        bfloat16.add_line(library, back, scale[sample].float(), image, slope, constant)
    deviation = (variance + bottleneck.epsilon).rsqrt()
    of_scale -= of_shift * mean
    of_compress, last_bias = (torch.stack(one).sum(0) for one in zip(*compress_sums, strict=True))
    found = (
        (of_scale * deviation).sum(0),
        of_shift.sum(0),
        expand_gradient.reshape(bottleneck.expand[0].shape),
        expand_bias,
        of_compress.t().reshape(bottleneck.compress[0].shape),
        last_bias,
    )
    return Gradients(result, tuple(one.float().contiguous() for one in found))
