"""When and what is saved, of a stand-in for a run's state, and a run killed between two files."""

import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from mednext_cli.foundation.errors import MednextError, StorageError
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.training.distributed import ALONE, SingleProcess
from mednext_cli.training.ledger import Ledger
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.saving import Saver
from tests.training.synthetic import arguments, run_folder


@dataclass
class _State:
    """Notes which files are written, and leaves an empty one."""

    minutes: float = 10.0
    finished: bool = False
    finite: bool = True
    written: list[str] = field(default_factory=list)
    progress: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(seconds=0.0))

    @property
    def recipe(self) -> Any:
        return SimpleNamespace(training=SimpleNamespace(checkpoint_minutes=self.minutes))

    def save(self, path: Path) -> None:
        self.written.append(path.name)
        path.touch()

    def note(self, seconds: float) -> None:
        self.progress.seconds = seconds

    def has_finite_weights(self) -> bool:
        return self.finite


@dataclass
class _Ledger:
    is_failing: bool = False
    settled: int = 0

    def settle(self) -> None:
        self.settled += 1


@dataclass(frozen=True)
class _Waiting(SingleProcess):
    """A rank of several that counts how often it waited."""

    waits: list[int] = field(default_factory=list)

    def barrier(self) -> None:
        self.waits.append(1)


BEST, LAST = "checkpoint_best.pt", "checkpoint_last.pt"


@pytest.fixture
def state() -> _State:
    return _State()


@pytest.fixture
def ledger() -> _Ledger:
    return _Ledger()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    return seconds


def _saver(state: _State, ledger: _Ledger, folder: Path, processes: Any = ALONE) -> Saver:
    return Saver(cast(Any, state), RunFolder(folder), cast(Ledger, ledger), processes)


def test_after_an_epoch_the_first_the_best_and_the_final_state_are_saved(
    state: _State, ledger: _Ledger, tmp_path: Path
) -> None:
    saver = _saver(state, ledger, tmp_path)
    saver.after_epoch(is_best=True)
    assert state.written == [BEST, LAST]  # there was none to go on from
    for is_best in (False, True):
        saver.after_epoch(is_best)
    assert state.written == [BEST, LAST, BEST]
    state.finished = True
    saver.after_epoch(is_best=False)
    assert state.written == [BEST, LAST, BEST, LAST]


def test_the_newest_state_is_saved_when_the_minutes_are_over(
    state: _State, ledger: _Ledger, tmp_path: Path, clock: list[float]
) -> None:
    saver = _saver(state, ledger, tmp_path)
    for seconds in (599.0, 2.0, 598.0, 3.0):
        clock[0] += seconds
        saver.between_steps(stopping=False)
    assert state.written == [LAST, LAST]
    assert ledger.settled == 2
    clock[0] += 601.0
    saver.after_epoch(is_best=False)
    assert state.written == [LAST] * 3


def test_time_is_counted_once(
    state: _State, ledger: _Ledger, tmp_path: Path, clock: list[float]
) -> None:
    state.progress.seconds = 40.0
    saver = _saver(state, ledger, tmp_path)
    clock[0] += 2.0
    saver.save_last()
    assert state.progress.seconds == pytest.approx(42.0)
    saver.count_time()
    clock[0] += 3.0
    saver.count_time()
    assert state.progress.seconds == pytest.approx(45.0)


def test_a_stop_saves_and_interrupts(state: _State, ledger: _Ledger, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _saver(state, ledger, tmp_path).between_steps(stopping=True)
    assert state.written == [LAST]


def test_weights_that_are_not_finite_replace_nothing(
    state: _State, ledger: _Ledger, tmp_path: Path
) -> None:
    saver = _saver(state, ledger, tmp_path)
    state.finite, ledger.is_failing = False, True
    saver.save_last()
    assert state.written == []
    ledger.is_failing = False  # then nobody looks, which would make the device wait
    saver.save_last()
    assert state.written == [LAST]


def test_what_fails_is_raised_after_the_state_is_saved(
    state: _State, ledger: _Ledger, tmp_path: Path
) -> None:
    saver = _saver(state, ledger, tmp_path)
    with pytest.raises(ZeroDivisionError), saver.saving_on_error():
        raise ZeroDivisionError
    assert state.written == [LAST]


def test_of_two_errors_the_first_is_raised(
    state: _State, ledger: _Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full", "Make room.")

    monkeypatch.setattr(_State, "save", full)
    with (
        pytest.raises(MednextError, match="a case cannot be read"),
        _saver(state, ledger, tmp_path).saving_on_error(),
    ):
        raise MednextError("a case cannot be read", "Look at it.")


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_0_writes_and_every_rank_waits(
    rank: int, state: _State, ledger: _Ledger, tmp_path: Path
) -> None:
    processes = _Waiting(rank, 2)
    state.finished = True
    _saver(state, ledger, tmp_path, processes).after_epoch(is_best=True)
    assert state.written == ([BEST, LAST] if rank == 0 else [])
    assert len(processes.waits) == 2


_KILLED = """
import os, sys
from mednext_cli.app import main
from mednext_cli.training.state import TrainingState

save, written = TrainingState.save, []

def save_and_die(self, *paths):
    if len(written) == int(sys.argv[1]):
        os.fsync = lambda _: os._exit(9)  # written beside, not renamed
    written.append(paths)
    save(self, *paths)

TrainingState.save = save_and_die
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("files", [1, 2])
def test_a_run_killed_while_it_saves_ends_as_an_undisturbed_one(
    files: int, boxes: Path, tmp_path: Path
) -> None:
    """Between the first epoch's best state and its newest, and in the second epoch."""
    killed, undisturbed = (arguments(boxes, tmp_path / name) for name in "ab")
    run = [sys.executable, "-c", _KILLED]
    assert subprocess.run([*run, str(files), *killed], check=False).returncode == 9
    for command in (killed, undisturbed):
        assert subprocess.run([*run, "99", *command], check=False).returncode == 0
    for name in (BEST, LAST):
        one, other = (load_checkpoint(run_folder(tmp_path / runs) / name) for runs in "ab")
        assert all(
            torch.equal(one.state_dict[key], weights) for key, weights in other.state_dict.items()
        )
        assert one.progress.best_dice == other.progress.best_dice
        assert not math.isnan(one.progress.best_dice)
    assert not list(tmp_path.rglob(".*.pt"))
