"""The bottleneck of rows in bfloat16, with products by oneDNN; or without the compiled kernels.

Goes through the rows in pieces that stay in the cache, for the gradients as well: only the rows
themselves are ever whole in memory. Rows are taken less a pivot, their mean as bfloat16 has it: the
difference is exact near it, and a large mean does not drown it in what the weights are rounded by.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.networks.mednext.native import passes
from mednext_cli.networks.mednext.native.library import Library

_PIECE = 1 << 19  # expanded values at once: 1 MiB


class Expansion(NamedTuple):
    """One sample's expansion with the norm in it, for rows less the pivot.

    Attributes:
        pivot: (C,), bfloat16.
        weight: (C, R C), bfloat16, rounded once.
        bias: (R C,), float32.
    """

    pivot: Tensor
    weight: Tensor
    bias: Tensor


def expansion_of(folded: tuple[Tensor, Tensor], mean: Tensor) -> Expansion:
    """Of weight (C, R C) and bias (R C,) with the norm in them, and the mean (C,) of the rows."""
    weight, bias = folded
    pivot = mean.bfloat16()
    shifted = torch.addmv(bias, weight.t(), pivot.float())
    return Expansion(pivot, weight.bfloat16(), shifted)


def run_rows(
    library: Library | None,
    rows: Tensor,
    expansion: Expansion,
    compress: tuple[Tensor, Tensor],
    added: Tensor | None,
    result: Tensor,
) -> None:
    """Expansion, GELU, compression and residual of one sample.

    Args:
        library: compiled kernels for all these channels, or none.
        rows: (V, C), bfloat16.
        expansion: see there.
        compress: weight (C', R C) and bias (C',), float32.
        added: (V, C'), bfloat16, or None.
        result: (V, C'), bfloat16, to be filled; may be `rows`.
    """
    weight, bias = compress[0].t().bfloat16().contiguous(), compress[1]
    for part in _pieces(len(rows), expansion.weight.shape[1]):
        centred = passes.subtract(library, rows[part], expansion.pivot)
        inner = passes.gelu(library, _multiply(centred, expansion.weight), expansion.bias)
        outer = _multiply(inner, weight)
        passes.add(library, outer, bias, None if added is None else added[part], result[part])


def sum_rows(
    library: Library | None,
    rows: Sequence[Tensor],
    expansion: Expansion,
    weights: tuple[Tensor, Tensor],
) -> list[Tensor]:
    """Gradients of one sample's rows, and sums of them over its voxels.

    Args:
        library: compiled kernels for all these channels, or none.
        rows: of the image (V, C), of the result's gradient (V, C'), and those (V, C) to be filled
            with what comes back through the expansion, the norm's scale left out; bfloat16.
        expansion: see there.
        weights: of expansion (R C, C) and compression (C', R C), float32.

    Returns:
        float32 (C, R C), (R C,), (R C, C') and (C',): of the image times the expansion's gradient,
        of that, of the activations times the result's gradient, and of that. Then two (C,): of what
        was filled in as it was rounded, and of that times the rows less the pivot.
    """
    x, gradient, back = rows
    expand, compress = (one.bfloat16() for one in weights)
    (hidden, channels), out = expand.shape, gradient.shape[1:]
    shapes = ((channels, hidden), (hidden,), (hidden, *out), out, (channels,), (channels,))
    sums = [x.new_zeros(shape, dtype=torch.float32) for shape in shapes]
    for part in _pieces(len(x), hidden):
        centred, slope = passes.subtract(library, x[part], expansion.pivot), gradient[part]
        products = _multiply(centred, expansion.weight), _multiply(slope, compress)
        active, of_inner = passes.gelu_backward(library, products[0], expansion.bias, products[1])
        back[part] = of_rows = _multiply(of_inner, expand)
        sums[0] += _outer(centred, of_inner)
        sums[1] += of_inner.sum(0, dtype=torch.float32)
        sums[2] += _outer(active, slope)
        sums[3] += slope.sum(0, dtype=torch.float32)
        sums[4] += of_rows.sum(0, dtype=torch.float32)
        sums[5] += of_rows.float().mul_(centred).sum(0)
    sums[0].addr_(expansion.pivot.float(), sums[1])
    return sums


def centring(
    sums: Sequence[Tensor], scale: Tensor, mean: Tensor, variance: Tensor, voxels: int
) -> tuple[Tensor, Tensor]:
    """Slope and constant (C,) of the line in the rows that the norm's gradient adds.

    Of the very values that came back: what their rounding adds up to would else stay, the same in
    every voxel, and spoil the convolution's weight gradient.

    Args:
        sums: the last two of `sum_rows`.
        scale: of the norm, float64.
        mean: of the rows.
        variance: of the rows, with the norm's epsilon.
        voxels: of the image.
    """
    total, product = (one * scale for one in sums)
    slope = (total * (mean - mean.bfloat16()) - product) / (variance * voxels)
    return slope, -total / voxels - slope * mean


def add_line(
    library: Library | None,
    back: Tensor,
    scale: Tensor,
    rows: Tensor,
    slope: Tensor,
    constant: Tensor,
) -> None:
    """Make back * scale + rows * slope + constant of back (V, C), computed in float32.

    The scale comes last: a small constant added to values that were rounded with the scale in them
    would be lost in rounding them again, in most voxels and in the same direction.
    """
    for part in _pieces(len(rows), rows.shape[1]):
        passes.add_line(library, back[part], rows[part], scale, slope, constant)


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of rows (V, C), in float64, as the rows were rounded."""
    total, squares = (torch.zeros(rows.shape[1], dtype=torch.float64) for _ in range(2))
    pivot = rows[0].float()
    for part in _pieces(len(rows), rows.shape[1]):
        difference = rows[part].float() - pivot
        total += difference.sum(0)
        squares += difference.square_().sum(0)
    shift = total / len(rows)
    return pivot + shift, (squares / len(rows) - shift.square()).clamp_(min=0.0)


def _pieces(count: int, width: int) -> Iterator[slice]:
    piece = max(_PIECE // width, 1)
    return (slice(start, start + piece) for start in range(0, count, piece))


def _multiply(rows: Tensor, weight: Tensor) -> Tensor:
    """Rows (V, I) by a weight (I, O), rounded once; without instructions for it in float32."""
    if multiplies_bfloat16():
        return rows @ weight
    return (rows.float() @ weight.float()).bfloat16()


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """The sum over rows (V, I) and (V, O) of their outer products (I, O), float32."""
    if multiplies_bfloat16():
        return (left.t() @ right).float()
    return left.float().t() @ right.float()
