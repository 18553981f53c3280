"""The quick check after each epoch: loss and Dice on random patches of the fold's cases."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mednext_cli.networks.building import run_all_heads
from mednext_cli.settings.plan import Plan
from mednext_cli.training.distributed import mean_of
from mednext_cli.training.loss import SegmentationLoss, class_regions, region_masks
from mednext_cli.training.state import TrainingState

Watch = Callable[[Tensor, Tensor, Tensor], None]
"""Sees images (B, C, D, H, W), and predicted and present regions (B, K, D, H, W), of a batch."""


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
    state: TrainingState,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: SegmentationLoss,
    watch: Watch | None = None,
) -> PatchScores:
    """Predict patches and pool their voxels, as nnU-Net's online evaluation does.

    Several processes have as many batches each, and the scores are those of all of them.

    Args:
        state: its network is in evaluation mode, on the device of the batches.
        batches: images (B, C, D, H, W) and class indices (B, D, H, W).
        loss: the training loss, of the same outputs as in training; the Dice is of the first.
        watch: is shown each batch.
    """
    losses: list[Tensor] = []
    counts: list[Tensor] = []
    for images, labels in batches:
        with state.precision.autocast():
            outputs = run_all_heads(state.network, images, state.spec)
        losses.append(loss(outputs, labels))
        predicted, present = _masks(outputs[0], labels, state.plan)
        counts.append(_count(predicted, present))
        if watch is not None:
            watch(images, predicted, present)
    if not counts:
        return PatchScores(float("nan"), {})
    shared, found, there = state.processes.all_reduce(torch.stack(counts).sum(0))
    dice = 2 * shared / (found + there)
    names = score_names(state.plan)
    return PatchScores(
        float(mean_of(state.processes, torch.stack(losses).mean())),
        dict(zip(names, dice.tolist(), strict=True)),
    )


def score_names(plan: Plan) -> list[str]:
    """What the patch Dice is given for: the regions trained on, or the labels by class index."""
    if plan.label_set.region_training:
        return list(plan.label_set.regions)
    by_value = {value: name for name, value in plan.label_set.names.items()}
    return [by_value[value] for value in plan.class_values[1:]]


def _masks(logits: Tensor, labels: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Predicted and present regions or classes (B, K, D, H, W); ignored voxels are in neither."""
    valid = (labels < len(plan.class_values)).unsqueeze(1)
    if plan.label_set.region_training:
        predicted = logits > 0
        present = region_masks(labels, class_regions(plan))
    else:
        classes = torch.arange(1, logits.shape[1], device=labels.device).view(1, -1, 1, 1, 1)
        predicted = logits.argmax(1, keepdim=True) == classes
        present = labels.unsqueeze(1) == classes
    return predicted & valid, present & valid


def _count(predicted: Tensor, present: Tensor) -> Tensor:
    """Voxels (3, K): shared, predicted, present."""
    axes = (0, 2, 3, 4)
    counts = [(predicted & present).sum(axes), predicted.sum(axes), present.sum(axes)]
    return torch.stack(counts).cpu().double()
