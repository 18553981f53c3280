"""The quick check after each epoch: loss and Dice on random patches of the fold's cases."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mednext_cli.networks.building import run_all_heads
from mednext_cli.settings.plan import Plan
from mednext_cli.training.loss import SegmentationLoss, class_regions, region_masks
from mednext_cli.training.state import TrainingState


@dataclass(frozen=True)
class PatchScores:
    """Mean loss, and Dice per name over all patches together; NaN where a class never appears."""

    loss: float
    dice: dict[str, float]

    @property
    def mean_dice(self) -> float:
        """Mean over the names that appear; NaN where none does."""
        return (
            float(torch.tensor(list(self.dice.values())).nanmean()) if self.dice else float("nan")
        )


@torch.inference_mode()
def score_patches(
    state: TrainingState, batches: Iterable[tuple[Tensor, Tensor]], loss: SegmentationLoss
) -> PatchScores:
    """Predict patches and pool their voxels, as nnU-Net's online evaluation does.

    Args:
        state: its network is in evaluation mode, on the device of the batches.
        batches: images (B, C, D, H, W) and class indices (B, D, H, W).
        loss: the training loss, of the same outputs as in training; the Dice is of the first.
    """
    losses: list[Tensor] = []
    counts: list[Tensor] = []
    for images, labels in batches:
        with state.precision.autocast():
            outputs = run_all_heads(state.network, images, state.spec)
        losses.append(loss(outputs, labels))
        counts.append(_count(outputs[0], labels, state.plan))
    if not counts:
        return PatchScores(float("nan"), {})
    shared, predicted, present = torch.stack(counts).sum(0)
    dice = 2 * shared / (predicted + present)
    names = score_names(state.plan)
    return PatchScores(
        float(torch.stack(losses).mean()), dict(zip(names, dice.tolist(), strict=True))
    )


def score_names(plan: Plan) -> list[str]:
    """What the patch Dice is given for: the regions trained on, or the labels by class index."""
    if plan.label_set.region_training:
        return list(plan.label_set.regions)
    by_value = {value: name for name, value in plan.label_set.names.items()}
    return [by_value[value] for value in plan.class_values[1:]]


def _count(logits: Tensor, labels: Tensor, plan: Plan) -> Tensor:
    """Voxels (3, K): shared, predicted, present; ignored voxels left out."""
    valid = (labels < len(plan.class_values)).unsqueeze(1)
    if plan.label_set.region_training:
        predicted = logits > 0
        present = region_masks(labels, class_regions(plan))
    else:
        classes = torch.arange(1, logits.shape[1], device=labels.device).view(1, -1, 1, 1, 1)
        predicted = logits.argmax(1, keepdim=True) == classes
        present = labels.unsqueeze(1) == classes
    axes = (0, 2, 3, 4)
    predicted, present = predicted & valid, present & valid
    counts = [(predicted & present).sum(axes), predicted.sum(axes), present.sum(axes)]
    return torch.stack(counts).cpu().double()
