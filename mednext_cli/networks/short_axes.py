"""Depthwise convolutions of images shorter than two kernels, as they are trained on CPUs.

oneDNN's weight gradients of them leave taps unwritten and write beyond the tensor (PyTorch 2.13,
AVX-512; bfloat16 along every axis, float32 with kernel 7 and stride 2): NaN, any number, or a
crash. Zeros behind the image change no result, and keep away from that code.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def lengthen(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """(B, C, D, H, W) with zeros behind it, up to these lengths along D, H and W; not cropped."""
    behind = [max(least - size, 0) for least, size in zip(lengths, x.shape[2:], strict=True)]
    if not any(behind):
        return x
    before_and_behind = [amount for each in reversed(behind) for amount in (0, each)]
    return F.pad(x, before_and_behind)


def least_lengths(x: Tensor, kernel: int) -> list[int]:
    """Of the larger grid (B, C, D, H, W), voxels, so that its weight gradient is right."""
    return [max(size, 2 * kernel) for size in x.shape[2:]]


def convolve_safely(
    convolve: Callable[[Tensor], Tensor], x: Tensor, kernel: int, stride: int, transposed: bool
) -> Tensor:
    """PyTorch's own depthwise convolution, whose weight gradient is right for short images too.

    Args:
        convolve: padded by half the kernel.
        x: (B, C, D, H, W), D, H or W perhaps shorter than two kernels.
        kernel: voxels.
        stride: 1 or 2.
        transposed: whether the stride makes the result larger.
    """
    if not _at_risk(x):
        return convolve(x)
    larger = lengthen(x, least_lengths(x, kernel))
    result = convolve(larger)
    if larger is x:
        return result
    depth, height, width = (_length(size, stride, transposed) for size in x.shape[2:])
    return result[:, :, :depth, :height, :width]


def _at_risk(x: Tensor) -> bool:
    """Not where a graph is recorded, in which sizes are open, and nothing is trained."""
    return (
        x.device.type == "cpu"
        and x.ndim == 5
        and torch.is_grad_enabled()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
    )


def _length(size: int, stride: int, transposed: bool) -> int:
    return stride * (size - 1) + 1 if transposed else (size - 1) // stride + 1
