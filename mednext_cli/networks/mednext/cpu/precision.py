"""Arithmetic on bfloat16 images: products as such instructions compute them, sums in float32."""

from collections.abc import Callable

import torch
from torch import Tensor

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.networks.mednext.cpu.taken import is_reduced


def by_precision(
    function: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *rest: object,
) -> Tensor:
    """Call it; under autocast in bfloat16, or where no instruction has that, as if it were.

    A product of two bfloat16 values is exact in float32, in which such instructions add up, too;
    PyTorch does without them at a fraction of float32's speed.
    """
    if not is_reduced():
        return function(x, weight, bias, *rest)
    rounded = [None if one is None else one.to(torch.bfloat16) for one in (x, weight, bias)]
    with torch.autocast("cpu", enabled=False):
        if multiplies_bfloat16():
            return function(*rounded, *rest)
        wide = [None if one is None else one.float() for one in rounded]
        return function(*wide, *rest).to(torch.bfloat16)


def at_least_float32(x: Tensor) -> Tensor:
    """In float32 where it is bfloat16, else as it is."""
    return x.float() if x.dtype is torch.bfloat16 else x
