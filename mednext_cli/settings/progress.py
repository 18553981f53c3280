"""How far a training run has come, and what it began with; kept in its checkpoints."""

from collections.abc import Sequence
from math import isnan, nan
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from mednext_cli.settings.training import TrainingSettings
from mednext_cli.settings.values import Count, FileName, Frozen, Name

_MOST_EPOCHS = 10**6
_NEEDED = ("epoch", "learning_rate", "training_loss", "dice_mean")


def _dice(value: float) -> float:
    if not (isnan(value) or 0.0 <= value <= 1.0):
        raise ValueError("a Dice is 0 to 1")
    return value


def _whole(row: dict[str, float]) -> dict[str, float]:
    missing = [name for name in _NEEDED if name not in row]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    return row


Dice = Annotated[float, AfterValidator(_dice)]
Row = Annotated[dict[Name, float], AfterValidator(_whole)]
"""What is noted of an epoch, by column of log.csv."""
Hash = Annotated[str, Field(max_length=128)]
Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Change(Frozen):
    """A recipe's value that was changed on the way; dotted `setting`."""

    setting: Name
    before: JsonValue
    after: JsonValue
    iteration: Count


class Origin(Frozen):
    """What a run must have been begun with to be resumed.

    Attributes:
        training_cases: ids.
        validation_cases: ids.
        case_keys: what each case was made from, by id; None where that was not noted.
        init: SHA-256 of the checkpoint it started from.
        init_weights: the same of the weights in it, which other notes beside them do not change.
        init_kernels: its kernels, voxels, where UpKern has grown them.
    """

    training_cases: tuple[FileName, ...] = ()
    validation_cases: tuple[FileName, ...] = ()
    case_keys: dict[FileName, Hash] | None = None
    init: Hash | None = None
    init_weights: Hash | None = None
    init_kernels: Annotated[tuple[Count, ...], Field(max_length=16)] = ()


class Progress(Frozen):
    """How far a run has come.

    Attributes:
        iteration: steps done, over all epochs.
        loss_sum: training loss summed over the steps done in the current epoch.
        skipped: steps of the current epoch that were left out, their loss or gradient not finite.
        seconds: time spent training, over all sessions.
        step_seconds: of it, with steps and waiting for their batches: validation and saving apart.
        epoch_step_seconds: the same, of the current epoch.
        epoch_wait_seconds: of these, waiting for batches.
        moving_dice: exponential moving average (0.9) of the mean patch Dice; NaN before the first.
        best_dice: the largest `moving_dice` so far; NaN before the first.
        history: a row an epoch.
        changes: what the recipe said otherwise before some iteration.
    """

    iteration: Count = 0
    loss_sum: float = 0.0
    skipped: Count = 0
    seconds: Seconds = 0.0
    step_seconds: Seconds = 0.0
    epoch_step_seconds: Seconds = 0.0
    epoch_wait_seconds: Seconds = 0.0
    moving_dice: Dice = float("nan")
    best_dice: Dice = float("nan")
    history: Annotated[tuple[Row, ...], Field(max_length=_MOST_EPOCHS)] = ()
    changes: tuple[Change, ...] = ()

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.history)

    def share(self, training: TrainingSettings) -> float:
        """Of the schedule that is over: epochs, or minutes of steps where the recipe has them."""
        if training.minutes is None:
            return self.epochs / training.epochs
        return self.step_seconds / (60 * training.minutes)

    def is_finished(self, training: TrainingSettings) -> bool:
        """Whether the schedule is over, and the epoch in which it ended is in the history."""
        in_an_epoch = self.iteration > self.epochs * training.iterations_per_epoch
        return self.has_lost_patience(training) or (self.share(training) >= 1 and not in_an_epoch)

    def has_lost_patience(self, training: TrainingSettings) -> bool:
        """Whether the last epochs, as many as the recipe waits for, were no better than before."""
        moving = [row.get("dice_moving", nan) for row in self.history]
        return is_out_of_patience(moving, training.patience)


def is_out_of_patience(moving: Sequence[float], patience: int | None) -> bool:
    """Whether the last values, as many as `patience`, are no better than those before.

    Args:
        moving: the moving average of the Dice after each epoch; NaN before the first.
        patience: of a recipe, None for one without.
    """
    if patience is None or len(moving) <= patience:
        return False
    before, waited = (_best(part) for part in (moving[:-patience], moving[-patience:]))
    return not isnan(before) and not waited > before


def _best(values: Sequence[float]) -> float:
    return max((value for value in values if not isnan(value)), default=nan)
