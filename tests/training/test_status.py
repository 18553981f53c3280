"""An epoch as a line and as what stands below the bar: pace, waiting, Dice, time left."""

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mednext_cli.settings.progress import Progress
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training import status
from mednext_cli.training.distributed import ALONE
from mednext_cli.training.status import bar_note, epoch_line, seconds_left

ROW = {
    "epoch": 1.0,
    "learning_rate": 0.1,
    "training_loss": 0.5,
    "validation_loss": 0.25,
    "dice_organ": 0.75,
    "dice_lesion": math.nan,
    "dice_mean": 0.75,
    "dice_moving": 0.7,
    "seconds": 20.0,
    "step_seconds": 10.0,
    "wait_seconds": 4.0,
    "patches_per_second": 2.0,
    "memory_gib": 1.5,
}


def _history(*seconds: float) -> tuple[dict[str, float], ...]:
    return tuple({**ROW, "seconds": value} for value in seconds)


def test_a_line_has_all_of_an_epoch() -> None:
    progress = Progress(history=_history(20.0, 50.0))
    line = epoch_line(progress, TrainingSettings(epochs=4))
    when, _, rest = line.partition(" epoch ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", when)
    assert rest == (
        "2/4: loss 0.500, validation 0.250, Dice organ 0.750, mean Dice 0.750, "
        "moving average 0.700, 2 patches/s, 40 % waiting for data, 1.5 GiB, 50 s left"
    )


def test_what_is_not_known_is_left_out() -> None:
    nothing = dict.fromkeys(ROW, math.nan)
    row = {**nothing, "training_loss": 0.5, "step_seconds": 0.0, "memory_gib": 0.0}
    row |= dict.fromkeys(("dice_organ", "dice_lesion", "dice_mean", "dice_moving"), math.nan)
    progress = Progress(history=(row,), step_seconds=100.0)
    line = epoch_line(progress, TrainingSettings(epochs=4, minutes=1.0))
    assert line.partition(" epoch ")[2] == "1: loss 0.500"


@pytest.mark.parametrize(
    ("seconds", "settings", "left"),
    [
        ((20.0, 50.0), TrainingSettings(epochs=4), 50.0),
        ((900.0, *(1000.0 + 2 * n for n in range(10))), TrainingSettings(epochs=21), 118.0),
        ((20.0,), TrainingSettings(minutes=2.0), 90.0),
        ((math.nan,), TrainingSettings(epochs=4), math.nan),
    ],
)
def test_the_time_left_goes_by_the_last_ten_epochs(
    seconds: tuple[float, ...], settings: TrainingSettings, left: float
) -> None:
    progress = Progress(history=_history(*seconds), step_seconds=30.0)
    assert seconds_left(progress, settings) == pytest.approx(left, nan_ok=True)


def test_the_bar_has_this_epochs_pace_and_the_last_ones_dice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "peak_bytes", lambda device: 2**30)
    recipe = Recipe(training=TrainingSettings(iterations_per_epoch=10))
    state: Any = SimpleNamespace(
        plan=SimpleNamespace(batch_size=2),
        processes=ALONE,
        recipe=recipe,
        progress=Progress(iteration=5, epoch_step_seconds=4.0, epoch_wait_seconds=1.0),
    )
    cpu = torch.device("cpu")
    pace = "2.5 patches/s, 25 % waiting for data, 1.0 GiB"
    assert bar_note(state, cpu).splitlines() == ["epoch 1", pace]
    state.progress = state.progress.model_copy(update={"history": _history(1.0), "iteration": 15})
    assert bar_note(state, cpu).splitlines() == [
        "epoch 2, loss 0.500, patch Dice 0.750",
        pace,
        "Dice organ 0.750",
    ]
    state.recipe = Recipe(training=TrainingSettings(iterations_per_epoch=10, accumulate=3))
    assert bar_note(state, cpu).splitlines()[1].startswith("7.5 patches/s")
