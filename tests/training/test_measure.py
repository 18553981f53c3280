"""`mednext recipes check --measure`: minutes of a run, from a few steps of it."""

import pytest

from mednext_cli.app import main
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.measure import Timing
from tests.training.synthetic import TINY

_SETTINGS = TrainingSettings(epochs=10, iterations_per_epoch=60, validation_iterations=6)


def test_steps_batches_and_validation_add_up_without_workers() -> None:
    timing = Timing(step=0.4, batch=0.1, overlap=False, validation=0.5)
    assert timing.minutes(_SETTINGS) == pytest.approx(10 * (60 * 0.5 + 6 * 0.5) / 60)


def test_workers_hide_what_is_faster_than_a_step() -> None:
    timing = Timing(step=0.4, batch=0.1, overlap=True, validation=0.5)
    assert timing.minutes(_SETTINGS) == pytest.approx(10 * (60 * 0.4 + 6 * 0.5) / 60)


@pytest.mark.slow
def test_the_command_tells_the_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [part for setting in TINY for part in ("--set", setting)]
    settings += ["--set", "training.epochs=10000"]
    assert main(["recipes", "check", "cpu", "--measure", "--device", "cpu", *settings]) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert rows["measured on"] == "cpu"
    assert 0 < float(rows["a step (s)"]) < 60
    assert float(rows["whole run but its final validation (minutes)"].replace(",", "")) > 0


@pytest.mark.slow
def test_a_step_that_does_not_fit_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mednext_cli.training.memory.free_memory_bytes", lambda: 2**30)
    assert main(["recipes", "check", "mednext", "--measure", "--device", "cpu"]) == 2
    assert "1.0 GiB are free" in capsys.readouterr().err


@pytest.mark.slow
def test_more_classes_than_label_maps_hold_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [part for setting in TINY for part in ("--set", setting)]
    assert main(["recipes", "check", "cpu", "--measure", "--classes", "257", *settings]) == 2
    assert "257 classes are not possible. Give 2 to 256." in capsys.readouterr().err
