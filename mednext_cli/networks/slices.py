"""Networks of two dimensions among patches of three: one slice goes in, and comes out."""

from typing import Any

import torch
from torch import Tensor, nn


def take_slices(network: nn.Module) -> nn.Module:
    """Let a network of (B, C, H, W) take and give (B, C, 1, H, W); its weights keep their names.

    Args:
        network: changed in place.

    Returns:
        The same network.
    """
    network.register_forward_pre_hook(_without_depth)
    network.register_forward_hook(_with_depth)
    return network


def _without_depth(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # A copy with plain strides: those of channels-last, which a slice of a channels-last patch
    # has, damage the heap in oneDNN's convolutions of two dimensions (PyTorch 2.13).
    image = inputs[0].squeeze(2).clone(memory_format=torch.contiguous_format)
    return (image, *inputs[1:])


def _with_depth(
    _: nn.Module, inputs: tuple[Any, ...], outputs: Tensor | list[Tensor]
) -> Tensor | list[Tensor]:
    del inputs
    if isinstance(outputs, Tensor):
        return outputs.unsqueeze(2)
    return [output.unsqueeze(2) for output in outputs]
