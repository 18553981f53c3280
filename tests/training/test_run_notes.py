"""What a run says: hours on a CPU, no number that is none, one kind of loss in the plot."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation import signals
from mednext_cli.foundation.progress import set_verbosity
from mednext_cli.training import cuda_graph, loop, pace, train
from mednext_cli.training.interruption import deferred_interruption
from mednext_cli.training.loss import SegmentationLoss
from tests.training.synthetic import arguments, run_folder

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("device", "says"), [("cpu", True), ("cuda", False)])
def test_a_run_of_days_on_a_cpu_is_announced(
    device: str, says: bool, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    set_verbosity()
    one = pace.Pace(torch.device(device), 250_000)
    for seconds in (9.0, 1.2, 1.3, 1.2):
        clock[0] += seconds
        one.after_step()
    expected = "a step takes 1.2 s on this CPU: the 250,000 that are left take about 83 hours"
    error = capsys.readouterr().err
    assert (expected in error) is says
    assert ("--recipe cpu" in error) is says
    assert error.count("hours. ") == says


@pytest.mark.slow
def test_a_run_asks_for_its_pace(
    boxes: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_HOURS", 0.0)
    settings = ("training.epochs=1",)
    assert main(arguments(boxes, tmp_path, "--fold", "all", settings=settings)) == 0
    assert "on this CPU: the 3 that are left take about 0 hours" in capsys.readouterr().err


@pytest.mark.slow
def test_without_validation_no_dice_is_mentioned(
    boxes: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mednext_cli.foundation.progress._SECONDS_BETWEEN_LINES", 0.0)
    assert main(arguments(boxes, tmp_path, "--fold", "all")) == 0
    error = capsys.readouterr().err
    assert "epoch 2, loss " in error
    assert "Dice" not in error
    assert "nan" not in error
    assert not (run_folder(tmp_path, "all") / "checkpoint_best.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deep", "label"), [("true", "loss of all outputs"), ("false", "loss of the output")]
)
def test_both_losses_are_of_the_same_outputs(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: str, label: str
) -> None:
    """The axis of the plot says which."""
    from matplotlib.axes import Axes

    labels, outputs = [], []
    write = Axes.set_ylabel
    monkeypatch.setattr(
        Axes, "set_ylabel", lambda self, text: labels.append(text) or write(self, text)
    )
    forward = SegmentationLoss.forward

    def count(self: Any, given: Any, truth: Any) -> Any:
        outputs.append(len(given))
        return forward(self, given, truth)

    monkeypatch.setattr(SegmentationLoss, "forward", count)
    monkeypatch.setattr(train, "validate_fold", lambda *_: {})
    one_step = ("training.epochs=1", "training.iterations_per_epoch=1")
    settings = (*one_step, f"model.deep_supervision={deep}")
    assert main(arguments(boxes, tmp_path, settings=settings)) == 0
    assert labels[0] == label
    assert set(outputs) == {5 if deep == "true" else 1}


def test_sigterm_may_come_twice_and_ctrl_c_insists_after_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: clock[0])
    with deferred_interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested
        for seconds, number in ((0.0, signal.SIGINT), (9.0, signal.SIGTERM)):
            clock[0] += seconds
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred_interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.requested
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with deferred_interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_stopped_in_the_validation_of_patches_no_step_is_done_again(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "validate_fold", lambda *_: {})
    original = loop.score_patches
    calls: list[int] = []

    def stop(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
        return original(*given)

    steps: list[int] = []
    update = cuda_graph.update
    monkeypatch.setattr(loop, "score_patches", stop)
    monkeypatch.setattr(cuda_graph, "update", lambda *given: steps.append(1) or update(*given))
    settings = ("training.epochs=1", "training.iterations_per_epoch=2")
    for code in (130, 0):
        assert main(arguments(boxes, tmp_path, settings=settings)) == code
        assert len(steps) == 2
    assert (run_folder(tmp_path) / "log.csv").read_text().count("\n") == 2
