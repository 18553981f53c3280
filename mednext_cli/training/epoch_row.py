"""What is noted of an epoch: its row in the history, and so in log.csv."""

import math

import torch

from mednext_cli.foundation.machine import GIB
from mednext_cli.foundation.memory import peak_bytes
from mednext_cli.settings.progress import Row
from mednext_cli.training.patch_validation import PatchScores, score_names
from mednext_cli.training.state import TrainingState


def epoch_row(
    state: TrainingState,
    training_loss: float,
    scores: PatchScores,
    moving_dice: float,
    device: torch.device,
) -> Row:
    """What is noted of the epoch whose steps are done and which is not yet in the history.

    Args:
        state: after the epoch's last step.
        training_loss: mean over its steps.
        scores: on patches of the fold's cases.
        moving_dice: the moving average of the mean Dice, this epoch's in it.
        device: where the network runs.
    """
    progress = state.progress
    return {
        "epoch": state.epoch + 1,
        "iteration": progress.iteration,
        "learning_rate": max(group["lr"] for group in state.optimiser.param_groups),
        "training_loss": training_loss,
        "validation_loss": scores.loss,
        **{f"dice_{name}": scores.dice.get(name, math.nan) for name in score_names(state.plan)},
        "dice_mean": scores.mean_dice,
        "dice_moving": moving_dice,
        "skipped_steps": progress.skipped,
        "seconds": progress.seconds,
        "step_seconds": progress.epoch_step_seconds,
        "wait_seconds": progress.epoch_wait_seconds,
        "patches_per_second": patches_per_second(state),
        "memory_gib": peak_bytes(device) / GIB,
    }


def patches_per_second(state: TrainingState) -> float:
    """Of all processes, in the current epoch's steps so far; nan before the first."""
    progress, settings = state.progress, state.recipe.training
    steps = progress.iteration - progress.epochs * settings.iterations_per_epoch
    seconds = progress.epoch_step_seconds
    patches = steps * settings.accumulate * state.plan.batch_size * state.processes.world_size
    return patches / seconds if steps and seconds else math.nan
