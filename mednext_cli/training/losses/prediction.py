"""An output of the network beside the truth: what several terms need is computed once."""

from collections.abc import Callable, Sequence
from functools import cached_property, reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.training.distributed import ALONE

Reducer = Callable[[Tensor], Tensor]
"""Sums over the ranks that share a batch, as `Processes.all_reduce` does."""


def region_masks(labels: Tensor, regions: Sequence[Sequence[int]]) -> Tensor:
    """Boolean masks (B, R, D, H, W) of unions of class indices, from labels (B, D, H, W)."""
    # Plain numbers, as `torch.isin` would have the host wait until its list is on the device.
    masks = [reduce(torch.logical_or, [labels == value for value in region]) for region in regions]
    return torch.stack(masks, dim=1)


class Prediction:
    """Logits and labels of the same resolution.

    Attributes:
        logits: (B, K, D, H, W): classes with the background, or regions.
        labels: class indices (B, D, H, W), those of the ignore label among them.
        regions: class indices each region consists of; empty where classes are predicted.
        valid: voxels (B, D, H, W) that count; None where all do.
    """

    def __init__(
        self,
        logits: Tensor,
        labels: Tensor,
        regions: Sequence[Sequence[int]] = (),
        ignore: int | None = None,
        reducer: Reducer = ALONE.all_reduce,
    ) -> None:
        self._reducer = reducer
        self.logits, self.labels, self.regions = logits, labels, regions
        self.valid = None if ignore is None else labels != ignore

    @cached_property
    def classes(self) -> Tensor:
        """Class indices (B, D, H, W), 0 where nobody annotated."""
        known = self.labels if self.valid is None else torch.where(self.valid, self.labels, 0)
        return known.long()

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Of the classes, (B, K, D, H, W)."""
        return F.log_softmax(self.logits, dim=1)

    @cached_property
    def foreground(self) -> Tensor:
        """Probabilities of what overlap is measured of: classes but the background, or regions."""
        return self.logits.sigmoid() if self.regions else self.log_probabilities[:, 1:].exp()

    @cached_property
    def foreground_targets(self) -> Tensor:
        """What `foreground` should be, (B, K', D, H, W): true or false, of regions as numbers."""
        if self.regions:
            return region_masks(self.labels, self.regions).to(self.logits.dtype)
        indices = torch.arange(1, self.logits.shape[1], device=self.logits.device)
        return self.classes.unsqueeze(1) == indices.view(-1, *(1,) * (self.labels.ndim - 1))

    def mean(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Over the voxels that count, those of all ranks; each of these may have as few as none.

        Args:
            values: (B, D, H, W), 0 where their weight is.
            weights: (B, D, H, W) that `values` are multiplied by already; None for ones.
        """
        if self.valid is not None:
            values = values * self.valid
            weights = self.valid if weights is None else weights * self.valid
        if weights is None:
            return values.mean()
        sums = torch.stack([values.sum(), weights.sum().to(values.dtype)])
        total, count = self._reducer(sums).unbind()
        mean: Tensor = total / torch.where(count > 0, count, 1)
        return mean
