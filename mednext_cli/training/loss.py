"""The loss of a recipe on every deep-supervision output: Dice + cross entropy as published."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.settings.loss import LossSettings
from mednext_cli.settings.plan import Plan
from mednext_cli.training.distributed import ALONE
from mednext_cli.training.losses.prediction import Prediction, Reducer
from mednext_cli.training.losses.prediction import region_masks as region_masks
from mednext_cli.training.losses.term import TermOptions, build_term


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
    """A weighted sum of terms, weighted over the outputs of deep supervision.

    Labels: overlap leaves the background out, probabilities are softmax. Regions (each a union of
    labels, they may overlap): overlap over all of them, probabilities are sigmoid. Voxels of the
    ignore label do not count.

    Source: of the published terms, ``DC_and_CE_loss`` and ``DC_and_BCE_loss`` of nnU-Net v1,
    MedNeXt section 3.1.

    Args:
        regions: class indices each region consists of; empty for label training.
        ignore: class index of the ignore label.
        batch_dice: sum the overlap over the batch before the ratio.
        reducer: sums over the ranks that share a batch, as `Processes.all_reduce` does; it is
            given the sums of `batch_dice`, once an output and term of overlap, and those of a
            mean over voxels that do not all count alike, (2,), once an output and other term.
        settings: which terms; left out, Dice and cross entropy.

    Raises:
        PluginError: there is no such term.
    """

    def __init__(
        self,
        regions: Sequence[Sequence[int]] = (),
        ignore: int | None = None,
        batch_dice: bool = False,
        reducer: Reducer = ALONE.all_reduce,
        settings: LossSettings | None = None,
    ) -> None:
        super().__init__()
        settings = settings or LossSettings()
        options = TermOptions(settings, batch_dice, reducer)
        self._regions = [tuple(region) for region in regions]
        self._ignore, self._reducer = ignore, reducer
        self._terms = [
            (weight, build_term(name, options)) for name, weight in settings.weighted.items()
        ]

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
        prediction = Prediction(logits, labels, self._regions, self._ignore, self._reducer)
        first, *others = (weight * term(prediction) for weight, term in self._terms)
        return sum(others, start=first)


def build_loss(
    plan: Plan, settings: LossSettings, reducer: Reducer = ALONE.all_reduce
) -> SegmentationLoss:
    """The loss of a recipe for a plan's labels or regions; `reducer` as in `SegmentationLoss`.

    Raises:
        SettingsError: the class weights are not those of the plan's classes.
        PluginError: there is no such term.
    """
    check_loss(plan, settings)
    label_set = plan.label_set
    regions = class_regions(plan) if label_set.region_training else ()
    pooled = plan.batch_dice if settings.batch_dice == "auto" else settings.batch_dice
    return SegmentationLoss(regions, plan.ignore_index, pooled, reducer, settings)


def check_loss(plan: Plan, settings: LossSettings) -> None:
    """Raise `SettingsError` unless there are as many class weights as classes or regions."""
    given, needed = settings.class_weights, plan.output_channels
    if given is None or len(given) == needed:
        return
    what = "regions" if plan.label_set.region_training else "classes, background first"
    raise SettingsError(
        f"loss.class_weights has {len(given)} numbers, {plan.dataset} has {needed} {what}",
        "Give one for each.",
    )


def class_regions(plan: Plan) -> list[tuple[int, ...]]:
    """The class indices each trained region consists of."""
    index = {value: position for position, value in enumerate(plan.class_values)}
    return [tuple(index[value] for value in region) for region in plan.label_set.regions.values()]
