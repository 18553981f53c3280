"""Dice + cross entropy on every deep-supervision output."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.settings.plan import Plan
from mednext_cli.training.distributed import ALONE

_SMOOTH = 1e-5
Reducer = Callable[[Tensor], Tensor]


def deep_supervision_weights(outputs: int) -> list[float]:
    """Weights halving with each halving of the resolution, summing to 1 (nnU-Net, MedNeXt)."""
    raw = [0.5**level for level in range(outputs)]
    return [weight / sum(raw) for weight in raw]


def downsample_labels(labels: Tensor, shape: Sequence[int]) -> Tensor:
    """Nearest neighbour: labels (B, D, H, W) at the resolution `shape` of a lower output.

    Takes voxel ``step // 2`` of each block, as nnU-Net's order-0 resize and torch's
    ``nearest-exact`` do.
    """
    steps = [full // low for full, low in zip(labels.shape[1:], shape, strict=True)]
    index = tuple(slice(step // 2, None, step) for step in steps)
    return labels[(slice(None), *index)]


class SegmentationLoss(nn.Module):
    """Soft Dice plus cross entropy, weighted over the outputs of deep supervision.

    Labels: Dice leaves the background out, cross entropy is over softmax. Regions (each a union of
    labels, they may overlap): Dice over all of them, binary cross entropy over sigmoid. Voxels of
    the ignore label count in neither.

    Source: ``DC_and_CE_loss`` and ``DC_and_BCE_loss`` of nnU-Net v1, MedNeXt section 3.1.

    Args:
        regions: class indices each region consists of; empty for label training.
        ignore: class index of the ignore label.
        batch_dice: sum the overlap over the batch before the ratio.
        reducer: sums over the ranks that share a batch, as `Processes.all_reduce` does; it is
            given the sums of `batch_dice`, (2, K), and of the entropy where voxels are ignored,
            (2,), once an output.
    """

    def __init__(
        self,
        regions: Sequence[Sequence[int]] = (),
        ignore: int | None = None,
        batch_dice: bool = False,
        reducer: Reducer = ALONE.all_reduce,
    ) -> None:
        super().__init__()
        self._regions = [tuple(region) for region in regions]
        self._ignore = ignore
        self._batch_dice = batch_dice
        self._reducer = reducer

    def forward(self, outputs: Sequence[Tensor], labels: Tensor) -> Tensor:
        """The weighted loss.

        Args:
            outputs: logits (B, K, D, H, W), full resolution first, each next one halved.
            labels: class indices (B, D, H, W).
        """
        weights = deep_supervision_weights(len(outputs))
        losses = [
            weight * self._of_output(logits.float(), downsample_labels(labels, logits.shape[2:]))
            for weight, logits in zip(weights, outputs, strict=True)
        ]
        return torch.stack(losses).sum()

    def _of_output(self, logits: Tensor, labels: Tensor) -> Tensor:
        valid = None if self._ignore is None else labels != self._ignore
        if self._regions:
            return self._region_loss(logits, labels, valid)
        labels = labels.long() if valid is None else torch.where(valid, labels, 0).long()
        log_probabilities = F.log_softmax(logits, dim=1)
        entropy = F.nll_loss(log_probabilities, labels, reduction="none")
        classes = torch.arange(1, logits.shape[1], device=labels.device)
        targets = labels.unsqueeze(1) == classes.view(-1, *(1,) * (labels.ndim - 1))
        dice = self._dice(log_probabilities[:, 1:].exp(), targets, valid)
        return self._mean(entropy, valid) - dice

    def _region_loss(self, logits: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
        targets = region_masks(labels, self._regions).to(logits.dtype)
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
        return self._mean(entropy, valid) - self._dice(logits.sigmoid(), targets, valid)

    def _mean(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """Over the valid voxels of all ranks; each of them may have as few as none."""
        if valid is None:
            return values.mean()
        sums = self._reducer(torch.stack([(values * valid).sum(), valid.sum().to(values.dtype)]))
        return sums[0] / sums[1].clamp(min=1)

    def _dice(self, probabilities: Tensor, targets: Tensor, valid: Tensor | None) -> Tensor:
        """Mean soft Dice over the channels (and the batch, unless `batch_dice`)."""
        if valid is not None:
            mask = valid.unsqueeze(1)
            probabilities, targets = probabilities * mask, targets * mask
        axes = tuple(range(2, probabilities.ndim))
        shared = (probabilities * targets).sum(axes)
        total = probabilities.sum(axes) + targets.sum(axes)
        if self._batch_dice:
            shared, total = self._reducer(torch.stack([shared.sum(0), total.sum(0)]))
        return ((2 * shared + _SMOOTH) / (total + _SMOOTH + 1e-8)).mean()


def build_loss(plan: Plan, reducer: Reducer = ALONE.all_reduce) -> SegmentationLoss:
    """The loss of a plan's labels or regions; `reducer` as in `SegmentationLoss`."""
    label_set = plan.label_set
    regions = class_regions(plan) if label_set.region_training else ()
    ignore = len(plan.class_values) if label_set.ignore is not None else None
    return SegmentationLoss(regions, ignore, plan.batch_dice, reducer)


def class_regions(plan: Plan) -> list[tuple[int, ...]]:
    """The class indices each trained region consists of."""
    index = {value: position for position, value in enumerate(plan.class_values)}
    return [tuple(index[value] for value in region) for region in plan.label_set.regions.values()]


def region_masks(labels: Tensor, regions: Sequence[Sequence[int]]) -> Tensor:
    """Boolean masks (B, R, D, H, W) of unions of class indices, from labels (B, D, H, W)."""
    # Plain numbers, as `torch.isin` would have the host wait until its list is on the device.
    masks = [reduce(torch.logical_or, [labels == value for value in region]) for region in regions]
    return torch.stack(masks, dim=1)
