"""All that changes while training, and its way into a checkpoint and back."""

from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import nn

from mednext_cli.networks.architecture import Architecture
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.log import Row
from mednext_cli.training.precision import Precision


def _dice(value: float) -> float:
    if not (isnan(value) or 0.0 <= value <= 1.0):
        raise ValueError("a Dice is 0 to 1")
    return value


Dice = Annotated[float, AfterValidator(_dice)]


@dataclass(frozen=True)
class Change:
    """A recipe's value that was changed on the way, in plain types; dotted `setting`."""

    setting: str
    before: Any
    after: Any
    iteration: int


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        iteration: steps done, over all epochs.
        loss_sum: training loss summed over the steps done in the current epoch.
        skipped: steps of the current epoch that were left out, their loss or gradient not finite.
        seconds: time spent training, over all sessions.
        moving_dice: exponential moving average (0.9) of the mean patch Dice; NaN before the first.
        best_dice: the largest `moving_dice` so far; NaN before the first.
        history: a row an epoch.
    """

    iteration: Annotated[int, Field(strict=True, ge=0)] = 0
    loss_sum: float = 0.0
    skipped: Annotated[int, Field(strict=True, ge=0)] = 0
    seconds: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    moving_dice: Dice = float("nan")
    best_dice: Dice = float("nan")
    history: list[Row] = field(default_factory=list)


@dataclass
class TrainingState:
    """Network, optimiser and progress of one run.

    Attributes:
        origin: what a run must have been begun with to be resumed: its cases, what these were made
            from (`case_keys`) and the SHA-256 of the checkpoint it started from; plain types.
        changes: what was set otherwise before some iteration, see `Change`.
    """

    architecture: Architecture
    network: nn.Module
    optimiser: torch.optim.Optimizer
    precision: Precision
    plan: Plan
    recipe: Recipe
    origin: dict[str, Any]
    progress: Progress = field(default_factory=Progress)
    changes: list[Change] = field(default_factory=list)

    def save(self, *paths: Path) -> None:
        """Write the state, each file in one step."""
        checkpoint = Checkpoint(
            architecture=self.architecture,
            state_dict=self.network.state_dict(),
            plan=self.plan.model_dump(mode="json"),
            recipe=self.recipe.model_dump(mode="json"),
            progress={**vars(self.progress), "finished": self.finished},
            optimiser={
                "adamw": self.optimiser.state_dict(),
                "scaler": self.precision.scaler.state_dict(),
            },
            metadata={"origin": self.origin, "changes": [vars(one) for one in self.changes]},
        )
        for path in paths:
            save_checkpoint(path, checkpoint)

    def has_finite_weights(self) -> bool:
        """Whether no weight is infinite or NaN; waits for the device."""
        finite = [weights.isfinite().all() for weights in self.network.parameters()]
        return bool(torch.stack(finite).all())

    @property
    def remarks(self) -> list[str]:
        """What the recipe does not say of how the weights came to be, a line each."""
        init = self.origin.get("init")
        return [f"started from the checkpoint with SHA-256 {init}"] * bool(init) + [
            f"{one.setting} was {one.before!r} until iteration {one.iteration}"
            for one in self.changes
        ]

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.progress.history)

    @property
    def finished(self) -> bool:
        """Whether the recipe's epochs are done."""
        return self.epoch >= self.recipe.training.epochs


def build_optimiser(
    network: nn.Module, recipe: Recipe, precision: Precision
) -> torch.optim.Optimizer:
    """AdamW on all parameters, as published (no exception for norms and biases)."""
    settings = recipe.training
    return torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        eps=settings.epsilon or precision.epsilon,
        fused=True,
    )
