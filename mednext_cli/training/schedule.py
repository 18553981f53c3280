"""The learning rate, by the share of the schedule that is over."""

from torch.optim import Optimizer

from mednext_cli.settings.training import TrainingSettings


def poly_learning_rate(initial: float, share: float, exponent: float = 0.9) -> float:
    """``initial * (1 - share) ** exponent``, as in nnU-Net and MedNeXt.

    Args:
        initial: learning rate at the start.
        share: of the schedule that is over: epochs done of all; at 1 the rate is 0.
        exponent: 0.9 in the published recipe.
    """
    return initial * float(max(0.0, 1.0 - share) ** exponent)


def set_learning_rate(optimiser: Optimizer, settings: TrainingSettings, share: float) -> None:
    """Give every parameter the rate that belongs to this share of the schedule."""
    rate = poly_learning_rate(settings.learning_rate, share, settings.poly_exponent)
    for group in optimiser.param_groups:
        group["lr"] = rate
