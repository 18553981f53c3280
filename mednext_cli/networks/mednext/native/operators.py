"""The kernels on tensors: (B, C, D, H, W) with the channels last in memory, float32 or bfloat16.

Source of the arithmetic: arXiv 2303.09975, section 2. The norm needs no pass of its own: with mean
and scale known for each sample and channel, W (x s + t) + b = (W s) x + (W t + b), so that it goes
into the weights of the expansion. Its statistics are taken where the depthwise convolution writes
its result, of what it writes. Weights, sums and statistics are float32 or better whatever the image
is. Every plane and row is computed alike, so the number of threads changes no bit.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.native import arranged, bfloat16
from mednext_cli.networks.mednext.native.layers import Bottleneck, Depthwise
from mednext_cli.networks.mednext.native.library import (
    BottleneckForward,
    Convolution,
    Library,
    pointer,
)
from mednext_cli.networks.mednext.native.norm import Folding, combine
from mednext_cli.networks.mednext.native.threads import parts_for_threads, run_parts

PIECE = 96  # rows whose expanded channels are in the cache at once; whole tiles of all libraries


def block(
    library: Library | None,
    x: Tensor,
    depthwise: Depthwise,
    bottleneck: Bottleneck,
    residual: Tensor | None,
) -> Tensor:
    """Depthwise convolution, spatial norm, expansion, GELU, compression, residual; no gradients.

    Args:
        library: see `layers.library_of`; None in bfloat16 is PyTorch's own operators.
        x: (B, C, D, H, W), channels last in memory.
        depthwise: the convolution; transposed, n voxels become 2n - 1.
        bottleneck: the rest.
        residual: (B, C', D', H', W') or None; of a transposed convolution also (B, C', D, H, W),
            what is added to every second voxel.

    Returns:
        (B, C', D', H', W'), channels last in memory.
    """
    if residual is not None and is_for_even(residual, x, depthwise):
        return cpu.add_at_even(block(library, x, depthwise, bottleneck, None), residual)
    with torch.autocast("cpu", enabled=False):
        mixed, *statistics = convolve(library, x, depthwise)
        rows = last(mixed)
        same = len(bottleneck.compress[0]) == rows.shape[-1]
        result = rows if same else None
        return first(run_bottleneck(library, rows, statistics, bottleneck, residual, result))


def is_for_even(residual: Tensor, x: Tensor, depthwise: Depthwise) -> bool:
    """Whether it has n voxels along an axis, as the image, where the result has 2n - 1."""
    return depthwise.transposed and residual.shape[2:] == x.shape[2:]


def last(x: Tensor) -> Tensor:
    """(B, C, D, H, W) as contiguous (B, D, H, W, C): a view where channels are last in memory."""
    return x.movedim(1, -1).contiguous()


def first(rows: Tensor) -> Tensor:
    """(B, D, H, W, C) as a view (B, C, D, H, W)."""
    return rows.movedim(-1, 1)


def turned(weight: Tensor) -> Tensor:
    """Taps (C, 1, K, K, K) as the kernels have them, (K, K, K, C)."""
    return weight[:, 0].permute(1, 2, 3, 0).contiguous()


def convolve(
    library: Library | None, x: Tensor, depthwise: Depthwise
) -> tuple[Tensor, Tensor, Tensor]:
    """The depthwise convolution, and mean and variance (B, C) of its result in float64."""
    if library is None:
        return arranged.convolve(x, *depthwise)
    image = last(x)
    size = depthwise.output_size(list(x.shape[2:]))
    moments = x.new_empty((len(x), size[0], 3, x.shape[1]), dtype=torch.float64)
    name = name_of(depthwise.weight.shape[-1], depthwise.stride, depthwise.transposed)
    taps = turned(depthwise.weight)
    result = run_convolution(library, name, image, taps, size, depthwise.bias, moments)
    return first(result), *combine(library, moments, size[1] * size[2])


def name_of(kernel: int, stride: int, transposed: bool) -> str:
    """Of the kernel in C."""
    return f"transposed_k{kernel}" if transposed else f"depthwise_k{kernel}_s{stride}"


def run_convolution(
    library: Library,
    name: str,
    image: Tensor,
    taps: Tensor,
    size: list[int],
    bias: Tensor | None = None,
    moments: Tensor | None = None,
    added: Tensor | None = None,
) -> Tensor:
    """The convolution `name` of image (B, D, H, W, C) by taps (K, K, K, C), of this size.

    Args:
        library: the kernels.
        name: see `name_of`.
        image: contiguous.
        taps: contiguous.
        size: (D', H', W') of the result.
        bias: (C,) or None.
        moments: (B, D', 3, C) float64, to be filled; None leaves them out.
        added: as the result, contiguous, to be added to one that is not transposed; or None.
    """
    call = getattr(library.calls, f"mednext_{name}")
    result = image.new_empty((len(image), *size, image.shape[-1]))
    bias = None if bias is None else bias.detach().contiguous()
    for sample in range(len(image)):

        def work(begin: int, end: int, sample: int = sample) -> None:
            own = (None if one is None else one[sample] for one in (added, result, moments))
            given = Convolution(
                *map(pointer, (image[sample], taps, bias, *own)),
                *(*image.shape[1:4], *size, image.shape[-1], is_half(image)),
            )
            call(ctypes.byref(given), ctypes.c_ssize_t(begin), ctypes.c_ssize_t(end))

        operations = 2 * result[sample].numel() * taps[..., 0].numel()
        run_parts(parts_for_threads(size[0], 1, operations), work, image)
    return result


def scale_and_shift(
    bottleneck: Bottleneck, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor]:
    """The norm as x s + t, both (B, C) in float64."""
    weight, bias = bottleneck.norm
    scale = weight.detach().double() * (variance + bottleneck.epsilon).rsqrt()
    return scale, bias.detach().double() - mean * scale


def expansion_with_norm(
    bottleneck: Bottleneck, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Weight (C, R C) and bias of the expansion with a sample's norm (C,) in them."""
    weight, bias = (one.detach() for one in bottleneck.expand)
    matrix = weight.flatten(1)
    folded = (matrix.t() * scale.float()[:, None]).contiguous()
    return folded, torch.addmv(bias, matrix, shift.float())


def multiplies_in_bfloat16(library: Library | None, rows: Tensor) -> bool:
    """Whether products of rows are oneDNN's, rather than the kernels' own in float32."""
    return is_half(rows) == 1 and (library is None or multiplies_bfloat16())


def run_bottleneck(
    library: Library | None,
    rows: Tensor,
    statistics: Sequence[Tensor],
    bottleneck: Bottleneck,
    residual: Tensor | None,
    result: Tensor | None = None,
) -> Tensor:
    """Norm, expansion, GELU, compression, residual of rows (B, D, H, W, C).

    Args:
        library: the kernels.
        rows: contiguous.
        statistics: mean and variance (B, C) of the rows.
        bottleneck: the weights.
        residual: (B, C', D, H, W) or None.
        result: (B, D, H, W, C') to write to; may be `rows`.
    """
    if result is None:
        result = rows.new_empty((*rows.shape[:-1], len(bottleneck.compress[0])))
    added = None
    if residual is not None:
        added = last(residual.detach().to(rows.dtype).expand_as(first(result)))
    if library is None or multiplies_in_bfloat16(library, rows):
        _run_in_bfloat16(library, rows, statistics, bottleneck, added, result)
    else:
        _run_kernels(library, rows, statistics, bottleneck, added, result)
    return result


def _run_in_bfloat16(
    library: Library | None,
    rows: Tensor,
    statistics: Sequence[Tensor],
    bottleneck: Bottleneck,
    added: Tensor | None,
    result: Tensor,
) -> None:
    mean, (scale, shift) = statistics[0], scale_and_shift(bottleneck, *statistics)
    compress, bias = (one.detach() for one in bottleneck.compress)
    for sample in range(len(rows)):
        folded = expansion_with_norm(bottleneck, scale[sample], shift[sample])
        bfloat16.run_rows(
            library,
            rows[sample].flatten(0, -2),
            bfloat16.expansion_of(folded, mean[sample]),
            (compress.flatten(1), bias),
            None if added is None else added[sample].flatten(0, -2),
            result[sample].flatten(0, -2),
        )


def _run_kernels(
    library: Library,
    rows: Tensor,
    statistics: Sequence[Tensor],
    bottleneck: Bottleneck,
    added: Tensor | None,
    result: Tensor,
) -> None:
    folding = Folding(library, bottleneck)
    sizes = folding.channels, folding.hidden, folding.out
    count = rows[0, ..., 0].numel()
    for sample, of_sample in enumerate(zip(*statistics, strict=True)):
        kept = (*folding.fold_and_turn(*of_sample), folding.last_bias)

        def work(
            begin: int, end: int, sample: int = sample, kept: tuple[Tensor, ...] = kept
        ) -> None:
            scratch = rows.new_empty((PIECE, sum(sizes)), dtype=torch.float32)
            given = BottleneckForward(
                pointer(rows[sample], begin * folding.channels),
                *map(pointer, kept),
                None if added is None else pointer(added[sample], begin * folding.out),
                pointer(result[sample], begin * folding.out),
                pointer(scratch),
                *(end - begin, PIECE, *sizes, is_half(rows)),
            )
            library.calls.mednext_bottleneck(ctypes.byref(given))

        operations = 2 * count * folding.hidden * (folding.channels + folding.out)
        run_parts(parts_for_threads(count, PIECE, operations), work, rows)


def is_half(image: Tensor) -> int:
    """What kernels are told of an image: whether it is bfloat16."""
    return int(image.dtype is torch.bfloat16)
