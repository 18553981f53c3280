"""All that changes while training, and its way into a checkpoint and back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.progress import Origin, Progress
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.distributed import ALONE, Processes
from mednext_cli.training.precision import Precision


@dataclass
class TrainingState:
    """Network, optimiser and progress of one run.

    Attributes:
        spec: what the network is built from.
        origin: what the run was begun with.
        processes: that train it together.
        parallel: the network as steps call it; None where it is the network itself.
    """

    spec: NetworkSpec
    network: nn.Module
    optimiser: torch.optim.Optimizer
    precision: Precision
    plan: Plan
    recipe: Recipe
    origin: Origin
    progress: Progress = field(default_factory=Progress)
    processes: Processes = ALONE
    parallel: nn.Module | None = None

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
            state_dict=self.network.state_dict(),
            plan=self.plan,
            recipe=self.recipe,
            progress=self.progress,
            origin=self.origin,
            optimiser={
                self.recipe.training.optimiser: self.optimiser.state_dict(),
                "scaler": self.precision.scaler.state_dict(),
            },
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
        return [f"started from the checkpoint with SHA-256 {origin.init}{grown}"]

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
