"""Depthwise convolutions of images shorter than two kernels, as they are trained on CPUs.

oneDNN's weight gradients of them leave taps unwritten and write beyond the tensor (PyTorch 2.13,
AVX-512; in bfloat16, and in float32 with kernel 7 and stride 2): NaN, any number, or a crash. Zeros
behind the image change no result, and keep away from that code. Not treated: graphs that
`torch.compile` makes of a training step, channels-last images of two dimensions, and convolutions
that are not depthwise, in bfloat16 hit as well (`NetworkFamily.trains_in_bfloat16_on_cpus`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_WIDE = 7  # from this kernel on float32 is hit, with a stride


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
    if not (_is_trained(x) and is_at_risk(_computed_type(x), kernel, strided=stride > 1)):
        return convolve(x)
    larger = lengthen(x, least_lengths(x, kernel))
    result = convolve(larger)
    if larger is x:
        return result
    depth, height, width = (_length(size, stride, transposed) for size in x.shape[2:])
    return result[:, :, :depth, :height, :width].contiguous(memory_format=_format_of(result))


def is_at_risk(dtype: torch.dtype, kernel: int, *, strided: bool) -> bool:
    """Whether short images' weight gradients are wrong in this type; transposed is strided."""
    return dtype is torch.bfloat16 or (strided and kernel >= _WIDE)


def _format_of(x: Tensor) -> torch.memory_format:
    """In which memory format (B, C, D, H, W) is dense."""
    last = x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format


def _computed_type(x: Tensor) -> torch.dtype:
    if torch.is_autocast_enabled("cpu") and x.dtype is not torch.float64:
        return torch.get_autocast_dtype("cpu")
    return x.dtype


def _is_trained(x: Tensor) -> bool:
    """Not where a graph is recorded, in which sizes are open; what is empty is PyTorch's to say."""
    return (
        x.device.type == "cpu"
        and x.ndim == 5
        and x.numel() > 0
        and torch.is_grad_enabled()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
    )


def _length(size: int, stride: int, transposed: bool) -> int:
    return stride * (size - 1) + 1 if transposed else (size - 1) // stride + 1
