"""Terms of overlap: soft Dice, and Tversky's index, which weighs the two kinds of error apart."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mednext_cli.training.losses.prediction import Prediction
from mednext_cli.training.losses.term import TermOptions

_SMOOTH = 1e-5
_NEVER_ZERO = 1e-8


class _Overlap(ABC):
    """Minus the mean index over the channels, and the batch unless it is pooled.

    Classes leave the background out, regions are all there, ignored voxels do not count.
    """

    def __init__(self, options: TermOptions) -> None:
        self._batch_dice, self._reducer = options.batch_dice, options.reducer

    def __call__(self, prediction: Prediction) -> Tensor:
        """Between -1 and 0."""
        probabilities, targets = prediction.foreground, prediction.foreground_targets
        if prediction.valid is not None:
            mask = prediction.valid.unsqueeze(1)
            probabilities, targets = probabilities * mask, targets * mask
        axes = tuple(range(2, probabilities.ndim))
        shared = (probabilities * targets).sum(axes)
        predicted, present = probabilities.sum(axes), targets.sum(axes)
        return -self._index(shared, predicted, present).mean()

    @abstractmethod
    def _index(self, shared: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
        """Of sums over the voxels of each patch and channel, (B, K)."""

    def _pooled(self, *sums: Tensor) -> tuple[Tensor, ...]:
        if not self._batch_dice:
            return sums
        return tuple(self._reducer(torch.stack([one.sum(0) for one in sums])))


class Dice(_Overlap):
    """Soft Dice, of which nnU-Net's loss consists with cross entropy.

    Source: ``SoftDiceLoss`` of nnU-Net v1, smooth 1e-5.
    """

    def _index(self, shared: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
        shared, total = self._pooled(shared, predicted + present)
        return (2 * shared + _SMOOTH) / (total + _SMOOTH + _NEVER_ZERO)


class Tversky(_Overlap):
    """Tversky's index: with 0.5 for both kinds of error it is Dice.

    Source: Salehi et al., arXiv 1706.05721.
    """

    def __init__(self, options: TermOptions) -> None:
        super().__init__(options)
        settings = options.settings
        self._alpha, self._beta = settings.tversky_alpha or 0.0, settings.tversky_beta or 0.0

    def _index(self, shared: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
        shared, predicted, present = self._pooled(shared, predicted, present)
        errors = self._alpha * (predicted - shared) + self._beta * (present - shared)
        return (shared + _SMOOTH) / (shared + errors + _SMOOTH)
