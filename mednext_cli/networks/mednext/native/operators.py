"""The kernels on tensors: float32, (B, C, D, H, W) with the channels last in memory, no gradients.

Source of the arithmetic: arXiv 2303.09975, section 2. The norm needs no pass of its own: with mean
and scale known for each sample and channel, W (x s + t) + b = (W s) x + (W t + b), so that it goes
into the weights of the expansion. Its statistics are taken where the depthwise convolution writes
its result. Every plane and row is computed alike, so the number of threads changes no bit.
"""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from mednext_cli.networks.mednext.native.library import KERNELS, Convolution, Library, library_for
from mednext_cli.networks.mednext.native.threads import in_parts

_PIECE = 96  # rows whose expanded channels are in the cache at once; whole tiles of all libraries


class Depthwise(NamedTuple):
    """A depthwise convolution: weight (C, 1, K, K, K), bias (C,), stride 1 or 2, or transposed."""

    weight: Tensor
    bias: Tensor
    stride: int = 1
    transposed: bool = False


class Bottleneck(NamedTuple):
    """What follows it.

    Attributes:
        norm: weight and bias (C,) of the spatial norm.
        epsilon: of the norm.
        expand: weight (R C, C, 1, 1, 1) and bias (R C,).
        compress: weight (C', R C, 1, 1, 1) and bias (C',).
    """

    norm: tuple[Tensor, Tensor]
    epsilon: float
    expand: tuple[Tensor, Tensor]
    compress: tuple[Tensor, Tensor]


def library_of(x: Tensor, depthwise: Depthwise, bottleneck: Bottleneck) -> Library | None:
    """The library that can compute such a block of such an image; None where there is none."""
    if type(x) is not Tensor or x.dtype is not torch.float32:  # others may have no values
        return None
    if depthwise.weight.shape[-1] not in KERNELS:
        return None
    hidden, channels = bottleneck.expand[0].shape[:2]
    return library_for(channels, hidden, len(bottleneck.compress[0]))


def block(
    library: Library,
    x: Tensor,
    depthwise: Depthwise,
    bottleneck: Bottleneck,
    residual: Tensor | None,
) -> Tensor:
    """Depthwise convolution, spatial norm, expansion, GELU, compression, residual.

    Args:
        library: see `library_of`.
        x: (B, C, D, H, W), channels last in memory.
        depthwise: the convolution; transposed, n voxels become 2n - 1.
        bottleneck: the rest.
        residual: (B, C', D', H', W') or None.

    Returns:
        (B, C', D', H', W'), channels last in memory.
    """
    mixed, mean, variance = convolve(library, x, depthwise)
    weight, bias = bottleneck.norm
    scale = weight.double() * (variance + bottleneck.epsilon).rsqrt()
    shift = bias.double() - mean * scale
    return _bottleneck(library, mixed, scale.float(), shift.float(), bottleneck, residual)


def convolve(library: Library, x: Tensor, depthwise: Depthwise) -> tuple[Tensor, Tensor, Tensor]:
    """The depthwise convolution, and mean and variance (B, C) of its result in float64."""
    weight, bias, stride, transposed = depthwise
    kernel, channels = weight.shape[-1], x.shape[1]
    name = f"transposed_k{kernel}" if transposed else f"depthwise_k{kernel}_s{stride}"
    call = getattr(library.calls, f"mednext_{name}")
    size = [2 * n - 1 if transposed else (n - 1) // stride + 1 for n in x.shape[2:]]
    image = x.contiguous(memory_format=torch.channels_last_3d)
    result = image.new_empty((len(x), *size, channels))
    taps = weight[:, 0].permute(1, 2, 3, 0).contiguous()
    bias = bias.contiguous()
    moments = torch.empty((len(x), size[0], 3, channels), dtype=torch.float64)
    for sample in range(len(x)):
        pointers = (image[sample], taps, bias, result[sample], moments[sample])
        given = Convolution(*map(_pointer, pointers), *x.shape[2:], *size, channels)
        in_parts(size[0], 1, lambda begin, end: call(ctypes.byref(given), begin, end))  # noqa: B023 - done before the next
    return result.movedim(-1, 1), *_combine(moments, size[1] * size[2])


def _combine(moments: Tensor, voxels: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, C) of planes' pivots, and sums of differences from them and squares."""
    pivot, total, squares = moments.unbind(2)
    means = pivot + total / voxels
    mean = means.mean(1)
    within = (squares - total.square() / voxels).sum(1) / (voxels * moments.shape[1])
    return mean, (within + (means - mean[:, None]).square().mean(1)).clamp_(min=0.0)


def _bottleneck(
    library: Library,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    bottleneck: Bottleneck,
    residual: Tensor | None,
) -> Tensor:
    """Overwrites x where C' is C."""
    (expand, expand_bias), (compress, compress_bias) = bottleneck.expand, bottleneck.compress
    hidden, channels, out = *expand.shape[:2], len(compress)
    rows = x.movedim(1, -1)
    result = rows if out == channels else rows.new_empty((*rows.shape[:-1], out))
    up, down = expand.flatten(1).t(), compress.flatten(1).t().contiguous()
    last_bias = compress_bias.contiguous()
    added = None
    if residual is not None:
        added = residual.contiguous(memory_format=torch.channels_last_3d).movedim(1, -1)
    for sample in range(len(x)):
        weight = (up * scale[sample, :, None]).contiguous()
        bias = torch.addmv(expand_bias, up.t(), shift[sample])

        def work(begin: int, end: int, sample: int = sample) -> None:
            scratch = rows.new_empty((_PIECE, hidden))
            library.calls.mednext_bottleneck(
                _row(rows[sample], begin, channels),
                _pointer(weight),  # noqa: B023 - done before the next sample
                _pointer(bias),  # noqa: B023 - likewise
                _pointer(down),
                _pointer(last_bias),
                None if added is None else _row(added[sample], begin, out),
                _row(result[sample], begin, out),
                _pointer(scratch),
                end - begin,
                _PIECE,
                channels,
                hidden,
                out,
            )

        in_parts(rows[sample, ..., 0].numel(), _PIECE, work)
    return result.movedim(-1, 1)


def _pointer(tensor: Tensor) -> int:
    return tensor.data_ptr()


def _row(rows: Tensor, index: int, columns: int) -> int:
    return rows.data_ptr() + index * columns * rows.element_size()
