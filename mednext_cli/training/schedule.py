"""The learning rate of each epoch."""

from torch.optim import Optimizer

from mednext_cli.settings.recipe import TrainingSettings


def poly_learning_rate(initial: float, epoch: float, epochs: int, exponent: float = 0.9) -> float:
    """``initial * (1 - epoch / epochs) ** exponent``, as in nnU-Net and MedNeXt.

    Args:
        initial: learning rate at the start.
        epoch: epochs done.
        epochs: epochs in all; at `epoch` = `epochs` the rate is 0.
        exponent: 0.9 in the published recipe.
    """
    remaining = max(0.0, 1.0 - epoch / epochs)
    return initial * float(remaining**exponent)


def set_learning_rate(optimiser: Optimizer, settings: TrainingSettings, epochs_done: int) -> None:
    """Give every parameter the rate of the epoch that begins."""
    rate = poly_learning_rate(
        settings.learning_rate, epochs_done, settings.epochs, settings.poly_exponent
    )
    for group in optimiser.param_groups:
        group["lr"] = rate
