"""Launches the tensor cores' kernels: grids, chunks of planes, partial sums.

Everything here is contiguous (N, D, H, W, C), 16 bits a value, C a multiple of 8.
"""

from functools import cache
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from mednext_cli.networks.mednext.kernels.tensor_cores.driver import Kernels
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import SHARED_BYTES, Variant

_SIDE = 16  # voxels along H and W of a thread block
_ALIGNMENT = 16  # bytes that a thread loads at once
_THREADS = 256  # of a block of the kernel that only passes over memory


class Programs(NamedTuple):
    """Thread blocks of a walk along D.

    Attributes:
        grid: (tiles of H x W x blocks of channels, chunks of D, samples).
        planes: of a chunk.
        tiles: of H x W.
    """

    grid: tuple[int, int, int]
    planes: int
    tiles: int


@cache
def planes(depth: int, columns: int, kernel: int, multiprocessors: int) -> int:
    """Planes along D that a block walks, so that the busiest multiprocessor has least to do.

    A multiprocessor holds one block (registers); a chunk reads kernel - 1 planes beside its own.

    Args:
        depth: planes.
        columns: blocks needed for one chunk.
        kernel: voxels.
        multiprocessors: of the GPU.
    """

    def work(chunks: int) -> int:
        return ceil(columns * chunks / multiprocessors) * (ceil(depth / chunks) + kernel - 1)

    return ceil(depth / min(range(1, depth + 1), key=work))


def programs(shape: torch.Size, variant: Variant, multiprocessors: int) -> Programs:
    """The thread blocks for an image (N, D, H, W, C)."""
    batch, depth, height, width, channels = shape
    tiles = ceil(height / _SIDE) * ceil(width / _SIDE)
    across = tiles * ceil(channels / variant.channels)
    extent = planes(depth, across * batch, variant.kernel, multiprocessors)
    return Programs((across, ceil(depth / extent), batch), extent, tiles)


def aligned(x: Tensor) -> Tensor:
    """A contiguous tensor at an address that 16-byte loads take: itself, or a copy."""
    return x if x.data_ptr() % _ALIGNMENT == 0 else x.clone()


class Launcher:
    """Launches a variant's kernels.

    Args:
        kernels: compiled, on the tensors' device.
        variant: kernel size and type of the tensors.
    """

    def __init__(self, kernels: Kernels, variant: Variant) -> None:
        self._kernels, self._variant = kernels, variant

    def convolve(self, x: Tensor, taps: Tensor, bias: Tensor | None, flipped: bool) -> Tensor:
        """The convolution, or with `flipped` taps the gradient of its input.

        Args:
            x: (N, D, H, W, C).
            taps: (C, 1, K, K, K), contiguous float32.
            bias: (C,), contiguous float32.
            flipped: take the taps in reverse order.
        """
        y = torch.empty_like(x)
        found = self._programs(x)
        self._walk("convolve", found, x, taps, bias, y, *x.shape[1:], found.planes, int(flipped))
        return y

    def convolve_with_moments(
        self, x: Tensor, taps: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `convolve`, and partial moments (N, blocks, 3, C): mean, squares, count."""
        y, found = torch.empty_like(x), self._programs(x)
        shape = (x.shape[0], found.grid[1] * found.tiles, 3, x.shape[-1])
        partials = torch.empty(shape, dtype=torch.float32, device=x.device)
        self._walk(
            "convolve_with_moments", found, x, taps, bias, y, partials, *x.shape[1:], found.planes
        )
        return y, partials

    def weight_sums(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Gradients of the taps and, behind them, of the bias: (C, K^3 + 1), float32.

        The blocks' sums are added up in a second step, so that they are the same in every run.
        """
        found = self._programs(x)
        shape = (x.shape[0] * found.grid[1] * found.tiles, x.shape[-1], self._variant.kernel**3 + 1)
        partials = torch.empty(shape, dtype=torch.float32, device=x.device)
        self._walk("weight_gradient", found, x, gradient, partials, *x.shape[1:], found.planes)
        return partials.sum(0)

    def through_moments(self, gradient: Tensor, y: Tensor, terms: Tensor) -> Tensor:
        """The gradient of a result with what reaches it through its moments.

        The sum has to be rounded to 16 bits before it is multiplied, by chance up or down: the
        addend is so small that rounding to the nearest would mostly lose it, and so a mean that
        adds up in the taps' gradient. The chances are the same in every run.

        Args:
            gradient: (N, D, H, W, C), of the result.
            y: the result.
            terms: (N, 2, C), float32, constant and slope of `depthwise.moment_terms`.
        """
        result = torch.empty_like(gradient)
        blocks = ceil(gradient.numel() / 8 / _THREADS)
        self._kernels.launch(
            "moments_gradient",
            (blocks, 1, 1),
            _THREADS,
            0,
            *(gradient, y, terms, result),
            *gradient.shape,
        )
        return result

    def _programs(self, x: Tensor) -> Programs:
        return programs(x.shape, self._variant, self._kernels.multiprocessors)

    def _walk(self, name: str, found: Programs, *arguments: Tensor | int | None) -> None:
        self._kernels.launch(name, found.grid, self._variant.threads, SHARED_BYTES, *arguments)
