"""1x1x1 convolutions, which PyTorch computes fastest in two dimensions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.networks.mednext.cpu.memory import channels_last, planes_of, spread
from mednext_cli.networks.mednext.cpu.precision import by_precision

ONEDNN_BATCH = 16  # from here on PyTorch leaves 1x1 convolutions to oneDNN whatever else


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1x1 convolution of (B, C, D, H, W); the result's channels are last in memory.

    As a two-dimensional one over all planes. PyTorch runs three-dimensional ones without oneDNN,
    and forgets the memory format, where there is one thread or the features are small. Of an image
    in another format, or of one channel, which has none, a prediction's result would have to be
    brought into it: a twelfth of a network's time. Training has the weights' gradient of planes,
    which is more exact.
    """
    return by_precision(_pointwise, x, weight, bias)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    has_format = x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last_3d)
    by_rows = not (has_format or torch.is_grad_enabled())
    if len(x) * x.shape[2] < ONEDNN_BATCH or by_rows:
        image = channels_last(x).movedim(1, -1).contiguous() if by_rows else x.movedim(1, -1)
        rows = F.linear(image, weight.flatten(1), bias)
        return rows.movedim(-1, 1)
    planes = F.conv2d(planes_of(x), weight.squeeze(-1), bias)
    return planes.reshape(len(x), -1, *planes.shape[1:]).movedim(1, 2)


def strided_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1x1 convolution of every second voxel along each axis; PyTorch's own has no oneDNN."""
    return pointwise(channels_last(x[:, :, ::2, ::2, ::2]), weight, bias)


def transposed_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Transposed 1x1x1 convolution with stride 2, weight (C, C', 1, 1, 1): n voxels to 2n - 1."""
    rows = pointwise(x, weight.transpose(0, 1), None)
    result = spread(rows, [2 * size - 1 for size in x.shape[2:]])
    return result if bias is None else result + bias.to(result.dtype).view(-1, 1, 1, 1)


def linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1x1 convolution of (voxels, C), by oneDNN where it can be had: twice as fast as MKL."""
    if len(rows) % ONEDNN_BATCH:
        return F.linear(rows, weight.flatten(1), bias)
    planes = rows.reshape(ONEDNN_BATCH, -1, 1, rows.shape[1]).movedim(-1, 1)
    return F.conv2d(planes, weight.flatten(2).unsqueeze(-1), bias).movedim(1, -1).flatten(0, 2)
