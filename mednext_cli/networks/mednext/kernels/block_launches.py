"""Launches the fused block's kernels: tiles, grids, partial sums.

Images are contiguous (N, D, H, W, channels). Triton is imported when a kernel first runs.
"""

from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.availability import is_interpreted
from mednext_cli.networks.mednext.kernels.limits import limits_of


class Given(NamedTuple):
    """What every kernel of the block reads.

    Attributes:
        image: z, (N, D, H, W, C).
        scale: (N, C), in the accumulator's type.
        shift: (N, C).
        expand: (HIDDEN, C), in the image's type.
        expand_bias: (HIDDEN,).
        compress: (OUT, HIDDEN), in the image's type.
    """

    image: Tensor
    scale: Tensor
    shift: Tensor
    expand: Tensor
    expand_bias: Tensor
    compress: Tensor

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels, expanded channels, channels of the result."""
        return self.image.shape[-1], len(self.expand), len(self.compress)

    @property
    def voxels(self) -> int:
        """Of a sample."""
        return tiles.voxels(tuple(self.image.shape[1:4]))


def _constants(given: Given, padded: bool) -> dict[str, Any]:
    import triton.language as tl

    kinds = {
        torch.float16: tl.float16,
        torch.bfloat16: tl.bfloat16,
        torch.float32: tl.float32,
        torch.float64: tl.float64,
    }
    if is_interpreted():
        # The interpreter takes the bits of bfloat16 for integers when it multiplies matrices.
        kinds[torch.bfloat16] = tl.float32
    channels, hidden, out = given.widths
    half = given.image.element_size() == 2
    return {
        "C": channels,
        "HIDDEN": hidden,
        "OUT": out,
        "BC": tiles.power_of_two(max(channels, 16)),
        "BO": tiles.power_of_two(max(out, 16)),
        "KIND": kinds[given.image.dtype],
        "ACC": tl.float64 if given.image.dtype is torch.float64 else tl.float32,
        "GELU": "erf" if not half else "interpreted" if is_interpreted() else "tanh",
        "PADDED": padded,
    }


def forward(
    given: Given,
    compress_bias: Tensor,
    residual: Tensor | None,
    skip: Tensor | None,
    padded: bool,
    dtype: torch.dtype,
) -> Tensor:
    """The block's result (N, D, H, W, OUT), one voxel more along each axis where padded.

    Residual and skip are added where given; the residual of a padded block has half its voxels.
    """
    from mednext_cli.networks.mednext.kernels import block_kernels as kernels

    image, (channels, hidden, out) = given.image, given.widths
    shape = [size + padded for size in image.shape[1:4]]
    y = torch.empty((len(image), *shape, out), dtype=dtype, device=image.device)
    tile = tiles.block_tile(channels, hidden, out, image.element_size())
    voxels = tiles.voxels(tuple(shape))
    kernels.forward[ceil(voxels / tile.rows), len(image)](
        *given,
        compress_bias,
        y if residual is None else residual,
        y if skip is None else skip,
        y,
        voxels,
        *shape[1:],
        RESIDUAL=residual is not None,
        SKIP=skip is not None,
        BM=tile.rows,
        BH=tile.hidden,
        num_warps=tile.warps,
        **_constants(given, padded),
    )
    return y


def input_gradient(given: Given, gradient: Tensor, padded: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the image; sums of those of scale and shift (N, 2 C), of the last bias (OUT,)."""
    from mednext_cli.networks.mednext.kernels import block_kernels as kernels

    image, (channels, hidden, out) = given.image, given.widths
    tile = tiles.block_tile(channels, hidden, out, image.element_size())
    blocks = ceil(given.voxels / tile.rows)
    result = torch.empty_like(image)
    partials = torch.empty(
        (len(image), blocks, 2 * channels + out), dtype=given.scale.dtype, device=image.device
    )
    kernels.input_gradient[blocks, len(image)](
        *given,
        gradient,
        result,
        partials,
        given.voxels,
        *gradient.shape[2:4],
        BM=tile.rows,
        BH=tile.hidden,
        num_warps=tile.warps,
        **_constants(given, padded),
    )
    sums = partials.sum(1)
    return result, sums[:, : 2 * channels], sums[:, 2 * channels :].sum(0)


def weight_gradient(given: Given, gradient: Tensor, padded: bool) -> Tensor:
    """(HIDDEN, C + OUT + 1): expand, compress and bias, added up in a second step.

    So the result is the same in every run.
    """
    from mednext_cli.networks.mednext.kernels import block_kernels as kernels

    image, (channels, hidden, out) = given.image, given.widths
    limits = limits_of(image.device)
    itemsize = max(image.element_size(), gradient.element_size())
    tile = tiles.block_weight_tile(channels, hidden, out, itemsize, limits)
    blocks, chunks = ceil(given.voxels / tile.rows), ceil(hidden / tile.hidden)
    splits = max(min(blocks * len(image), tiles.programs(limits) // chunks), 1)
    partials = torch.empty(
        (splits, hidden, channels + out + 1), dtype=given.scale.dtype, device=image.device
    )
    kernels.weight_gradient[chunks, splits](
        *given,
        gradient,
        partials,
        given.voxels,
        *gradient.shape[2:4],
        len(image),
        blocks,
        splits,
        BM=tile.rows,
        BH=tile.hidden,
        num_warps=tile.warps,
        **_constants(given, padded),
    )
    return partials.sum(0)
