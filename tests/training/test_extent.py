"""A run that ends by its minutes: the steps' time alone, over all sessions, by a clock we set."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.settings.progress import Progress
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training import cuda_graph, extent
from mednext_cli.training.distributed import ALONE, SingleProcess
from mednext_cli.training.extent import Extent
from mednext_cli.training.measure import Timing
from mednext_cli.training.state import TrainingState
from tests.training.conftest import NAME, Train

STEPS = 4
ROW = {"epoch": 1.0, "learning_rate": 0.1, "training_loss": 0.5, "dice_mean": 0.5}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [1000.0]
    monkeypatch.setattr(extent.time, "monotonic", lambda: seconds[0])
    return seconds


def _state(minutes: float | None, **progress: Any) -> TrainingState:
    training = TrainingSettings(minutes=minutes, epochs=2, iterations_per_epoch=STEPS)
    nothing: Any = None
    return TrainingState(
        spec=nothing,
        network=nn.Module(),
        optimiser=nothing,
        precision=nothing,
        plan=nothing,
        recipe=Recipe(training=training),
        origin=nothing,
        progress=Progress(**progress),
    )


def _run_epoch(state: TrainingState, clock: list[float], seconds: float) -> None:
    """Steps of so many seconds each, and as much again between them."""
    counted = Extent(state, ALONE)
    for _ in counted.rest_of_epoch():
        with counted.counting_time():
            clock[0] += seconds
            state.note(iteration=state.progress.iteration + 1)
        clock[0] += seconds


def test_the_first_step_after_the_minutes_is_the_last(clock: list[float]) -> None:
    state = _state(minutes=0.5)
    _run_epoch(state, clock, seconds=14.0)
    assert state.progress.iteration == 3
    assert state.progress.step_seconds == pytest.approx(42.0)
    assert state.share == pytest.approx(1.4)
    assert not state.finished  # its epoch is still to be closed
    state.note(history=(ROW,))
    assert state.finished


def test_what_is_left_of_an_earlier_session_is_gone_on_with(clock: list[float]) -> None:
    state = _state(minutes=0.5, iteration=5, history=(ROW,), step_seconds=20.0)
    _run_epoch(state, clock, seconds=6.0)
    assert state.progress.iteration == 7


def test_an_epoch_that_lacks_only_its_end_gets_no_step(clock: list[float]) -> None:
    state = _state(minutes=0.5, iteration=6, history=(ROW,), step_seconds=31.0)
    assert not state.finished
    _run_epoch(state, clock, seconds=6.0)
    assert state.progress.iteration == 6
    assert Extent(state, ALONE).steps_of_epoch == 2


def test_without_minutes_the_epochs_decide(clock: list[float]) -> None:
    state = _state(minutes=None)
    _run_epoch(state, clock, seconds=1e6)
    assert state.progress.iteration == STEPS
    state.note(history=(ROW,))
    assert (state.share, state.finished) == (0.5, False)
    assert Extent(state, ALONE).steps == 2 * STEPS
    assert Extent(state, ALONE).steps_left == STEPS


@dataclass(frozen=True)
class _Two(SingleProcess):
    """Rank 0 of 2; the other took ten seconds."""

    world_size: int = 2

    def all_reduce(self, values: Tensor) -> Tensor:
        return values + 10.0


def test_ranks_take_the_mean_of_their_clocks(clock: list[float]) -> None:
    state = _state(minutes=1.0)
    with Extent(state, _Two()).counting_time():
        clock[0] += 4.0
    assert state.progress.step_seconds == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("minutes", "seconds", "shown"), [(1.0, 12.9, 12), (1.0, 75.0, 60), (None, 12.9, 3)]
)
def test_the_bar_is_full_when_the_run_ends(
    minutes: float | None, seconds: float, shown: int
) -> None:
    state = _state(minutes, iteration=3, step_seconds=seconds)
    assert Extent(state, ALONE).done == shown


def test_what_a_run_takes_is_its_minutes_and_the_validation_of_epochs() -> None:
    timing = Timing(step=2.0, batch=1.0, overlap=True, validation=3.0)
    settings = TrainingSettings(minutes=10, iterations_per_epoch=100, validation_iterations=5)
    # 300 steps are 3 epochs, each with 15 s of validation
    assert timing.minutes(settings) == pytest.approx(10.75)


@pytest.mark.slow
def test_the_check_says_that_epochs_are_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "check", "demo", "--set", "training.minutes=2.5"]) == 0
    assert "minutes of steps (epochs are not used)\t2.5" in capsys.readouterr().out


def _ticking() -> Callable[[], float]:
    """A clock that goes on by a second whenever it is looked at."""
    seconds = iter(range(10**6))
    return lambda: float(next(seconds))


@pytest.mark.slow
def test_a_run_of_minutes_that_was_killed_ends_as_an_undisturbed_one(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of 3 steps an epoch, a second each and one for its end: 5.5 seconds are over at step 5."""
    monkeypatch.setattr(
        extent, "time", SimpleNamespace(monotonic=_ticking(), perf_counter=lambda: 0.0)
    )
    settings = (f"training.minutes={5.5 / 60}", "training.checkpoint_minutes=1e-9")
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert train(runs=undisturbed, settings=settings) == 0
    update, steps = cuda_graph.update, SimpleNamespace(left=4)

    def stop(*arguments: Any) -> Tensor:
        steps.left -= 1
        if steps.left < 0:
            raise KeyboardInterrupt
        return cast(Tensor, update(*arguments))

    with monkeypatch.context() as patched:
        patched.setattr(cuda_graph, "update", stop)
        assert train(runs=killed, settings=settings) == 130
    assert train(runs=killed, settings=settings[1:]) == 2
    assert "training.minutes: 0.09" in capsys.readouterr().err
    for _ in range(2):  # the second time there is nothing left to do
        assert train(runs=killed, settings=settings) == 0
    folders = [runs / NAME / "S-k3-w4" / "fold0" for runs in (undisturbed, killed)]
    one, other = (load_checkpoint(folder / "checkpoint_last.pt") for folder in folders)
    assert one.finished
    assert [state.progress.iteration for state in (one, other)] == [5, 5]
    for name, weights in one.state_dict.items():
        assert torch.equal(weights, other.state_dict[name]), name
    for folder in folders:
        with (folder / "log.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["iteration"] for row in rows] == ["3", "5"]
        rates = [3e-3 * (1 - share / 5.5) ** 0.9 for share in (2, 5)]
        assert [float(row["learning_rate"]) for row in rows] == pytest.approx(rates, rel=1e-4)
        assert (folder / "validation" / "summary.csv").is_file()
