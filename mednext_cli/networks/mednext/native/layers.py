"""The layers of a block as the kernels take them, and whether they can."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from mednext_cli.networks.mednext.cpu import is_reduced
from mednext_cli.networks.mednext.native.library import KERNELS, Library, library_for
from mednext_cli.networks.pretending import current_pretence


class Depthwise(NamedTuple):
    """A depthwise convolution: weight (C, 1, K, K, K), bias (C,), stride 1 or 2, or transposed."""

    weight: Tensor
    bias: Tensor
    stride: int = 1
    transposed: bool = False

    def output_size(self, size: list[int]) -> list[int]:
        """Voxels of the result along each axis."""
        if self.transposed:
            return [2 * n - 1 for n in size]
        return [(n - 1) // self.stride + 1 for n in size]


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
    """The library that can compute such a block of such an image; None where there is none.

    An image on "meta" has one where a CPU is pretended: the kernels are then left out. They are
    given addresses alone, so whatever does not fit is left to PyTorch, which says what is wrong.
    """
    if not fits(x, depthwise, bottleneck):
        return None
    pretence = current_pretence() if x.is_meta else None
    if x.is_meta and (pretence is None or pretence.device_type != "cpu"):
        return None
    if depthwise.weight.shape[-1] not in KERNELS:
        return None
    hidden, channels = bottleneck.expand[0].shape[:2]
    library = library_for(channels, hidden, len(bottleneck.compress[0]))
    if pretence is not None and library is not None:
        pretence.heeded = True
    return library


def fits(x: Tensor, depthwise: Depthwise, bottleneck: Bottleneck) -> bool:
    """Whether all is float32, on one device, and of the image's number of channels.

    The image is bfloat16 where autocast is on.
    """
    if type(x) is not Tensor:  # others may have no values
        return False
    kind = torch.bfloat16 if is_reduced(x) else torch.float32
    weights = (*depthwise[:2], *bottleneck.norm, *bottleneck.expand, *bottleneck.compress)
    kinds = {(one.dtype, one.device) for one in weights}
    channels = {x.shape[1], len(depthwise.weight), bottleneck.expand[0].shape[1]}
    same = kinds == {(torch.float32, x.device)} and len(channels) == 1 and x.dtype is kind
    return same and all(type(one) in (Tensor, Parameter) for one in weights) and x.numel() > 0
