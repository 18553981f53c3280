"""What a run says about itself while it goes on."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mednext_cli.settings.progress import Progress, Row
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.columns import DICE, LOG
from mednext_cli.training.log import RunLog
from mednext_cli.training.run_folder import RunFolder


def _state(*history: Row) -> Any:
    """After these epochs of two."""
    training = TrainingSettings(epochs=2)
    return SimpleNamespace(
        recipe=Recipe(training=training),
        progress=Progress(history=history),
        finished=len(history) == training.epochs,
    )


def test_tensorboard_shows_what_was_measured(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    nothing = dict.fromkeys(LOG.expand(DICE, ["dice_organ"]).names, math.nan)
    row = {**nothing, "epoch": 1.0, "iteration": 3.0, "training_loss": 0.5}
    with RunLog(folder, 0, deep_supervision=True) as log:
        log.write(_state(row))
        log.write(
            _state(row, {**row, "epoch": 2.0, "validation_loss": 0.25}),
            [torch.zeros(3, 2, 4)],
        )
    lines = folder.lines.read_text(encoding="utf-8").splitlines()
    assert [line.split(" epoch ")[1][:14] for line in lines] == ["1/2: loss 0.50", "2/2: loss 0.50"]
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"iteration", "training_loss", "validation_loss"}
    assert events.Tags()["images"] == ["reference and prediction/patch 1"]
    assert [(event.step, event.value) for event in events.Scalars("validation_loss")] == [(2, 0.25)]
