"""Terms of each voxel by itself: cross entropy and focal loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.training.losses.prediction import Prediction
from mednext_cli.training.losses.term import TermOptions


class _Voxelwise(ABC):
    """A mean over the voxels that count; with class weights a weighted one, as PyTorch's is."""

    def __init__(self, options: TermOptions) -> None:
        self._weights = options.settings.class_weights
        self._tables: dict[torch.device, Tensor] = {}

    def __call__(self, prediction: Prediction) -> Tensor:
        """0 or more."""
        if prediction.regions:
            return prediction.mean(self._over_regions(self._of_regions(prediction)))
        if self._weights is None:
            return prediction.mean(self._of_classes(prediction))
        weights = self._table(self._weights, prediction.logits.device)[prediction.classes]
        return prediction.mean(weights * self._of_classes(prediction), weights)

    def _over_regions(self, values: Tensor) -> Tensor:
        """The mean of (B, R, D, H, W) over the regions."""
        if self._weights is None:
            return values.mean(dim=1)
        weights = self._table(self._weights, values.device)
        return torch.einsum("r,brdhw->bdhw", weights / weights.sum(), values)

    def _table(self, weights: Sequence[float], device: torch.device) -> Tensor:
        """The weights on a device: copied once, as the host would wait for each copy."""
        if device not in self._tables:
            self._tables[device] = torch.tensor(weights, device=device)
        return self._tables[device]

    @abstractmethod
    def _of_classes(self, prediction: Prediction) -> Tensor:
        """(B, D, H, W)."""

    @abstractmethod
    def _of_regions(self, prediction: Prediction) -> Tensor:
        """(B, R, D, H, W)."""


class CrossEntropy(_Voxelwise):
    """Cross entropy over softmax; of regions, binary over sigmoid.

    Source: ``DC_and_CE_loss`` and ``DC_and_BCE_loss`` of nnU-Net.
    """

    def _of_classes(self, prediction: Prediction) -> Tensor:
        return F.nll_loss(prediction.log_probabilities, prediction.classes, reduction="none")

    def _of_regions(self, prediction: Prediction) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            prediction.logits, prediction.foreground_targets, reduction="none"
        )


class Focal(_Voxelwise):
    """Cross entropy that fades where the prediction is right already.

    Source: Lin et al., arXiv 1708.02002; of classes the softmax form, summed over them.
    """

    def __init__(self, options: TermOptions) -> None:
        super().__init__(options)
        self._gamma = options.settings.focal_gamma or 0.0

    def _of_classes(self, prediction: Prediction) -> Tensor:
        right = prediction.log_probabilities.gather(1, prediction.classes.unsqueeze(1)).squeeze(1)
        return -self._fading(-torch.expm1(right)) * right

    def _of_regions(self, prediction: Prediction) -> Tensor:
        signs = 2 * prediction.foreground_targets - 1
        wrong = (-prediction.logits * signs).sigmoid()
        return -self._fading(wrong) * F.logsigmoid(prediction.logits * signs)

    def _fading(self, wrong: Tensor) -> Tensor:
        # The slope of a root is infinite at 0: with a gamma below 1 it would make the gradient NaN.
        return wrong.clamp(min=torch.finfo(wrong.dtype).eps) ** self._gamma
