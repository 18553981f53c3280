"""What a run says about itself while it goes on."""

import math
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mednext_cli.training.columns import DICE, LOG
from mednext_cli.training.log import RunLog
from mednext_cli.training.run_folder import RunFolder


def test_tensorboard_shows_what_was_measured(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    nothing = dict.fromkeys(LOG.expand(DICE, ["dice_organ"]).names, math.nan)
    row = {**nothing, "epoch": 1.0, "iteration": 3.0, "training_loss": 0.5}
    with RunLog(folder, 0, deep_supervision=True) as log:
        log.write([row], finished=False)
        log.write([row, {**row, "epoch": 2.0, "validation_loss": 0.25}], finished=True)
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"iteration", "training_loss", "validation_loss"}
    assert [(event.step, event.value) for event in events.Scalars("validation_loss")] == [(2, 0.25)]
