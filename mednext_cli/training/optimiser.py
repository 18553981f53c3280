"""The optimiser of a recipe, and what a checkpoint says of it."""

import math
from typing import Any

import torch
from torch import nn

from mednext_cli.settings.fine_tuning import FineTuningSettings
from mednext_cli.settings.sections import OptimiserName
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.parameter_groups import group_parameters
from mednext_cli.training.precision import Precision

_NAMES_OF_MOMENTS: dict[OptimiserName, tuple[str, ...]] = {
    "adamw": ("exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}


def count_kept(settings: TrainingSettings) -> int:
    """How many numbers are kept of each weight beside it: moments, and the moving average."""
    return len(_NAMES_OF_MOMENTS[settings.optimiser]) + (settings.ema is not None)


def build_optimiser(
    network: nn.Module,
    settings: TrainingSettings,
    precision: Precision,
    fine_tuning: FineTuningSettings | None = None,
) -> torch.optim.Optimizer:
    """It moves all parameters, as published (no exception for norms and biases).

    Args:
        network: on its device.
        settings: AdamW as in MedNeXt's trainer, or SGD with Nesterov's momentum as in nnU-Net's.
        precision: has AdamW's epsilon, where the recipe does not say one.
        fine_tuning: which of them stay or have rates of their own.

    Raises:
        SettingsError: the network has no such parts.
    """
    groups = group_parameters(network, fine_tuning or FineTuningSettings())
    if settings.optimiser == "sgd":
        return _build_sgd(groups, settings)
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        eps=settings.epsilon or precision.epsilon,
        fused=True,
    )


def _build_sgd(groups: list[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    optimiser = torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
        fused=True,
    )
    # Zeros give the same first step as none. PyTorch would take them from memory that nobody
    # cleared, and leave them so where that step is left out, as under float16 it usually is.
    for group in optimiser.param_groups:
        for weights in group["params"]:
            optimiser.state[weights]["momentum_buffer"] = torch.zeros_like(weights)
    return optimiser


def load_optimiser(
    optimiser: torch.optim.Optimizer, name: OptimiserName, saved: dict[str, Any]
) -> None:
    """Moments and steps are the file's, and must fit; all settings but the rate stay as built.

    Raises:
        ValueError: they do not fit the network.
        KeyError: they are of another optimiser.
    """
    own = [
        {key: value for key, value in group.items() if key not in ("params", "lr")}
        for group in optimiser.param_groups
    ]
    optimiser.load_state_dict(saved)
    for group, settings in zip(optimiser.param_groups, own, strict=True):
        group.update(settings)
        if type(group["lr"]) is not float or not 0 <= group["lr"] < math.inf:
            raise ValueError("the learning rate is no number")
    for weights, kept in optimiser.state.items():
        for moment in (kept[moment] for moment in _NAMES_OF_MOMENTS[name]):
            if moment.shape != weights.shape or not bool(moment.isfinite().all()):
                raise ValueError("the optimiser's state does not fit the network")
        if not 0 <= float(kept.get("step", 0)) < math.inf:
            raise ValueError("the optimiser's steps are no number")
