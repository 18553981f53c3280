"""The learning rate, by the share of the schedule that is over."""

import math

from torch.optim import Optimizer

from mednext_cli.settings.training import TrainingSettings

RATE_FACTOR = "rate_factor"
"""Of a group of parameters, what their rate is multiplied by; 1 where the group has none."""


def poly_decay(share: float, exponent: float = 0.9) -> float:
    """``(1 - share) ** exponent``, as in nnU-Net and MedNeXt.

    Args:
        share: of the decay that is over; at 1 nothing is left.
        exponent: 0.9 in the published recipe.
    """
    return float(max(0.0, 1.0 - share) ** exponent)


def cosine_decay(share: float) -> float:
    """Half a cosine from 1 to 0, as PyTorch's `CosineAnnealingLR`; `share` as in `poly_decay`."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def learning_rate(settings: TrainingSettings, share: float) -> float:
    """The rate at a share of the schedule: it rises in the warm-up, then falls to 0 over the rest.

    The rise is a straight line, as in nnU-Net (`Lin_incr_LRScheduler`): of W epochs of warm-up the
    first has 1 / W of the rate, and the last all of it. Of minutes it begins at 0.

    Args:
        settings: of the recipe.
        share: of the schedule that is over: epochs done of all, or minutes.
    """
    warm = settings.warmup_share
    if share < warm:
        ahead = 0.0 if settings.minutes is not None else 1 / settings.epochs
        return settings.learning_rate * min(1.0, (share + ahead) / warm)
    rest = (share - warm) / (1 - warm)
    if settings.schedule == "cosine":
        return settings.learning_rate * cosine_decay(rest)
    return settings.learning_rate * poly_decay(rest, settings.poly_exponent)


def set_learning_rate(optimiser: Optimizer, settings: TrainingSettings, share: float) -> None:
    """Give every parameter the rate that belongs to this share of the schedule."""
    rate = learning_rate(settings, share)
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get(RATE_FACTOR, 1.0)
