"""All that changes while training, and its way into a checkpoint and back."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.progress import Origin, Progress
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.average import WeightAverage
from mednext_cli.training.distributed import ALONE, Processes
from mednext_cli.training.precision import Precision
from mednext_cli.training.run_folder import BEGINNING

LAST_WEIGHTS = "weights"
"""Beside the optimiser's state: the weights that an average is taken of."""


@dataclass
class TrainingState:
    """Network, optimiser and progress of one run.

    Attributes:
        spec: what the network is built from.
        origin: what the run was begun with.
        processes: that train it together.
        parallel: the network as steps call it; None where it is the network itself.
        average: the moving average of the weights, which is what is used of them; None without.
        checkpointing: whether activations are computed again for the gradient.
    """

    spec: NetworkSpec
    network: nn.Module
    optimiser: torch.optim.Optimizer
    precision: Precision
    plan: Plan
    recipe: Recipe
    origin: Origin
    progress: Progress = field(default_factory=Progress)
    average: WeightAverage | None = None
    processes: Processes = ALONE
    parallel: nn.Module | None = None
    checkpointing: bool = False

    def join(self, processes: Processes) -> None:
        """Share the steps with these processes, which take over the first one's weights."""
        self.processes = processes
        self.parallel = processes.parallel(self.network)

    def note(self, **values: Any) -> None:  # noqa: ANN401 - those of `Progress`
        """Replace values of the progress."""
        self.progress = self.progress.model_copy(update=values)

    def save(self, *paths: Path) -> None:
        """Write the state, each file in one step."""
        checkpoint = Checkpoint(
            network=self.spec,
            state_dict=self.weights,
            plan=self.plan,
            recipe=self.recipe,
            progress=self.progress,
            origin=self.origin,
            optimiser={
                self.recipe.training.optimiser: self.optimiser.state_dict(),
                "scaler": self.precision.scaler.state_dict(),
                **({} if self.average is None else {LAST_WEIGHTS: self.network.state_dict()}),
            },
        )
        for path in paths:
            save_checkpoint(path, checkpoint)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """What is saved and predicted with: the average, or else those of the last step."""
        return (self.network if self.average is None else self.average).state_dict()

    def with_average(self) -> AbstractContextManager[None]:
        """The network has the weights that are predicted with while the context lasts."""
        return nullcontext() if self.average is None else self.average.in_place()

    def has_finite_weights(self) -> bool:
        """Whether no weight is infinite or NaN; waits for the device."""
        finite = [weights.isfinite().all() for weights in self.network.parameters()]
        return bool(torch.stack(finite).all())

    @property
    def remarks(self) -> list[str]:
        """What the recipe does not say of how the weights came to be, a line each."""
        return self._beginning + [
            f"{change.setting} was {change.before!r} until iteration {change.iteration}"
            for change in self.progress.changes
        ]

    @property
    def _beginning(self) -> list[str]:
        origin = self.origin
        if origin.init is None:
            return []
        kernels = " and ".join(map(str, sorted(set(origin.init_kernels))))
        grown = f", its kernels of {kernels} grown by UpKern" if kernels else ""
        return [f"{BEGINNING} {origin.init}{grown}"]

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.progress.epochs

    @property
    def share(self) -> float:
        """Of the schedule that is over; 1 or more at its end."""
        return self.progress.share(self.recipe.training)

    @property
    def finished(self) -> bool:
        """Whether the recipe's epochs, or its minutes, are over."""
        return self.progress.is_finished(self.recipe.training)
