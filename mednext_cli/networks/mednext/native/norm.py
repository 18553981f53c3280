"""The norm in the expansion's weights, its statistics, and all weights' gradients, by the kernels.

`operators.expansion_with_norm` and `bottleneck_backward._by_products` are the same by PyTorch.
"""

import ctypes

import torch
from torch import Tensor

from mednext_cli.networks.mednext.native.layers import Bottleneck
from mednext_cli.networks.mednext.native.library import Finish, Fold, Library, Statistics, pointer


def combine(library: Library, moments: Tensor, voxels: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, C) in float64, of planes of so many voxels.

    Args:
        library: the kernels.
        moments: (B, D, 3, C) float64: pivots, and sums of differences from them and of squares.
        voxels: of a plane.
    """
    (batch, planes, _, channels) = moments.shape
    mean, variance = moments.new_empty((2, batch, channels))
    for sample in range(0 if moments.is_meta else batch):
        arrays = (one[sample] for one in (moments, mean, variance))
        given = Statistics(*map(pointer, arrays), planes, voxels, channels)
        library.calls.mednext_statistics(ctypes.byref(given))
    return mean, variance


class Folding:
    """The weights of a bottleneck as the kernels take them, kept while they are at work.

    Args:
        library: the kernels.
        bottleneck: the weights.
    """

    def __init__(self, library: Library, bottleneck: "Bottleneck") -> None:
        weights = (*bottleneck.norm, *bottleneck.expand, *bottleneck.compress)
        self._library = library
        self._weights = tuple(one.detach().contiguous() for one in weights)
        (self.out, self.hidden), self.channels = self._weights[4].shape[:2], len(self._weights[0])
        self._epsilon = torch.tensor(bottleneck.epsilon, dtype=torch.float64)

    @property
    def expand(self) -> Tensor:
        """(R C, C, 1, 1, 1), without the norm."""
        return self._weights[2]

    @property
    def compress(self) -> Tensor:
        """(C', R C, 1, 1, 1)."""
        return self._weights[4]

    @property
    def last_bias(self) -> Tensor:
        """(C',)."""
        return self._weights[5]

    def fold(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (C, R C) and bias (R C,) with the norm of these statistics (C,), float64."""
        weight, bias, _ = self._fold(mean, variance, None)
        return weight, bias

    def fold_and_turn(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and the compression's weight turned, (R C, C')."""
        down = self.compress.new_empty((self.hidden, self.out))
        weight, bias, _ = self._fold(mean, variance, down)
        return weight, bias, down

    def _fold(
        self, mean: Tensor, variance: Tensor, down: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        shapes = ((self.channels, self.hidden), (self.hidden,), (2, self.channels))
        weight, bias, line = map(self.expand.new_empty, shapes)
        if not mean.is_meta:
            given = Fold(
                *self._norm(mean, variance),
                *map(pointer, (*self._weights[2:5], weight, bias, down, line)),
                *(self.channels, self.hidden, self.out),
            )
            self._library.calls.mednext_fold(ctypes.byref(given))
        return weight, bias, line

    def new_gradients(self) -> tuple[Tensor, ...]:
        """Zeros for `finish` to add to: of norm, expansion and compression, weight and bias."""
        return tuple(map(torch.zeros_like, self._weights))

    def finish(
        self,
        sums: Tensor,
        statistics: tuple[Tensor, Tensor],
        gradients: tuple[Tensor, ...],
        voxels: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add one sample's gradients of all weights.

        Args:
            sums: (parts, ...) as `mednext_bottleneck_backward` leaves them; overwritten.
            statistics: mean and variance (C,) in float64.
            gradients: to add to, as `new_gradients` has them.
            voxels: of the sample.

        Returns:
            Scale, slope and constant (C,) of `passes.add_line`.
        """
        line = sums.new_empty((3, self.channels))
        if not sums.is_meta:
            given = Finish(
                *self._norm(*statistics),
                *map(pointer, (self.expand, sums, *gradients, *line)),
                *(len(sums), voxels, self.channels, self.hidden, self.out),
            )
            self._library.calls.mednext_finish(ctypes.byref(given))
        scale, slope, constant = line
        return scale, slope, constant

    def _norm(self, mean: Tensor, variance: Tensor) -> tuple[int | None, ...]:
        return tuple(map(pointer, (*self._weights[:2], mean, variance, self._epsilon)))
