"""How a run stands, as a line in its log and as lines below its progress bar."""

import math
import time
from collections.abc import Iterator, Sequence

import torch

from mednext_cli.foundation.machine import GIB
from mednext_cli.foundation.memory import peak_bytes
from mednext_cli.foundation.progress import format_seconds
from mednext_cli.settings.progress import Progress, Row
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.epoch_row import patches_per_second
from mednext_cli.training.state import TrainingState

_RECENT = 10  # epochs, by whose pace the time that is left is told
_DICE, _MEAN, _MOVING = "dice_", "dice_mean", "dice_moving"


def bar_note(state: TrainingState, device: torch.device) -> str:
    """What stands beside the progress bar, and below it.

    Returns:
        The epoch at hand and how the last one went; then a line on this epoch's pace, and one on
        the last one's Dice by class.
    """
    history, progress = state.progress.history, state.progress
    beside = [f"epoch {len(history) + 1}"]
    if history:
        beside += _named({"loss": history[-1]["training_loss"], "patch Dice": history[-1][_MEAN]})
    pace = _pace(
        patches_per_second(state),
        progress.epoch_wait_seconds,
        progress.epoch_step_seconds,
        peak_bytes(device) / GIB,
    )
    below = [", ".join(pace), ", ".join(_by_class(history[-1]) if history else ())]
    return "\n".join([", ".join(beside), *filter(None, below)])


def epoch_line(progress: Progress, settings: TrainingSettings) -> str:
    """The newest epoch in a line: when it ended, losses, Dice, pace, memory and what is left."""
    row = progress.history[-1]
    of = "" if settings.minutes is not None else f"/{settings.epochs}"
    losses = {"loss": row["training_loss"], "validation": row.get("validation_loss", math.nan)}
    averages = {"mean Dice": row[_MEAN], "moving average": row.get(_MOVING, math.nan)}
    paces = ("patches_per_second", "wait_seconds", "step_seconds", "memory_gib")
    pace = _pace(*(row[name] for name in paces))
    parts = [*_named(losses), *_by_class(row), *_named(averages), *pace]
    left = seconds_left(progress, settings)
    if left > 0:
        parts.append(f"{format_seconds(left)} left")
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"{when} epoch {progress.epochs}{of}: {', '.join(parts)}"


def seconds_left(progress: Progress, settings: TrainingSettings) -> float:
    """What the rest of the schedule takes at the pace of the last epochs, validation apart.

    Args:
        progress: after at least one epoch.
        settings: of the run.

    Returns:
        Seconds; nan where the epochs are of an older version, which noted none.
    """
    recent = [row.get("seconds", math.nan) for row in progress.history[-_RECENT - 1 :]]
    begun = recent[0] if len(recent) > _RECENT else 0.0
    pace = (recent[-1] - begun) / min(len(recent), _RECENT)
    if settings.minutes is None:
        return pace * (settings.epochs - progress.epochs)
    return 60 * settings.minutes - progress.step_seconds


def _by_class(row: Row) -> Iterator[str]:
    """Patch Dice of each region or label."""
    names = [name for name in row if name.startswith(_DICE) and name not in (_MEAN, _MOVING)]
    yield from _named({f"Dice {name.removeprefix(_DICE)}": row[name] for name in names})


def _named(values: dict[str, float]) -> Sequence[str]:
    return [f"{name} {value:.3f}" for name, value in values.items() if not math.isnan(value)]


def _pace(patches: float, waited: float, seconds: float, gib: float) -> list[str]:
    parts = [] if math.isnan(patches) else [f"{patches:.3g} patches/s"]
    if seconds:
        parts.append(f"{100 * waited / seconds:.0f} % waiting for data")
    return [*parts, f"{gib:.1f} GiB"] if gib else parts
