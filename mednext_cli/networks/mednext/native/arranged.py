"""The depthwise convolution in bfloat16 by PyTorch's operators: where no compiled kernels fit."""

import torch
from torch import Tensor

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.native.bfloat16 import moments


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, transposed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `operators.convolve` without a library: the result, and its mean and variance (B, C)."""
    image, taps, added = _computable(x, weight, bias)
    mixed = cpu.channels_last(cpu.convolve(image, taps, added, stride, transposed).bfloat16())
    found = [moments(sample.movedim(0, -1).flatten(0, -2)) for sample in mixed]
    mean, variance = (torch.stack(one) for one in zip(*found, strict=True))
    return mixed, mean, variance


def gradients(
    x: Tensor,
    gradient: Tensor,
    weight: Tensor,
    stride: int,
    transposed: bool,
    needs_x: bool,
) -> tuple[Tensor | None, Tensor]:
    """Of the image in bfloat16, if that is wanted, and of the weight (C, 1, K, K, K) in float32."""
    image, of_result, taps = _computable(x, cpu.channels_last(gradient), weight)
    step = (stride, transposed)
    of_taps = cpu.taps_gradient(image, of_result, taps, *step).float()
    if not needs_x:
        return None, of_taps
    return cpu.image_gradient(image, of_result, taps, *step).bfloat16(), of_taps


def _computable(*values: Tensor) -> list[Tensor]:
    """Rounded to bfloat16, and in float32 again where no instruction multiplies that."""
    rounded = [one.detach().bfloat16() for one in values]
    return rounded if multiplies_bfloat16() else [one.float() for one in rounded]
