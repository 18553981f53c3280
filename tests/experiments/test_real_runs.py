"""Experiments that really train: kernels grown from another arm, kills, processes that share."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from tests.experiments.synthetic import TINY, arguments, read_rows, write_recipe

pytestmark = pytest.mark.slow
_SECONDS = 900.0  # of patience on a busy machine
ONE_SEED = TINY.replace("[0, 1]", "[0]")
GROWN = f"""{ONE_SEED}
[arms.k3]
[arms.too_few]
settings.training.cases = 1000
[arms.k5]
start = "k3"
growth = "centre"
settings.model.mednext.kernel = 5
"""
TWO = ONE_SEED + "[arms.one]\n[arms.other]\nsettings.model.mednext.grn = true\n"


def _start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "mednext_cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _end(process: "subprocess.Popen[str]") -> str:
    _, error = process.communicate(timeout=_SECONDS)
    return error


def _wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + _SECONDS
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_arms_are_trained_and_a_bad_one_stops_no_other(
    boxes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(arguments(write_recipe(tmp_path, GROWN), boxes, out)) == 2
    error = capfd.readouterr().err
    assert "1 of 3 runs failed (too_few, seed 0, fold 0: " in error
    rows = {row["arm"]: row for row in read_rows(out / "experiment.csv")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "k3": "ok",
        "too_few": "failed",
        "k5": "ok",
    }
    assert float(rows["k5"]["charged_minutes"]) > float(rows["k5"]["minutes"]) > 0
    assert (rows["k5"]["steps"], rows["k5"]["threads"]) == ("2", rows["k3"]["threads"])
    assert float(rows["k3"]["peak_gib"]) > 0
    assert 0 <= float(rows["k5"]["dice"]) <= 1
    last = load_checkpoint(next((out / "runs" / "k5" / "seed0").rglob("checkpoint_last.pt")))
    assert last.origin is not None
    assert last.origin.init_kernels is not None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_killed_experiment_goes_on(boxes: Path, tmp_path: Path, number: int, code: int) -> None:
    out, long = tmp_path / "out", ("--set", "training.iterations_per_epoch=40")
    command = arguments(write_recipe(tmp_path, TWO), boxes, out, *long)
    process = _start(*command)
    _wait_for((out / "runs" / "one" / "seed0").exists)
    time.sleep(1.0)
    process.send_signal(number)
    error = _end(process)  # which waits until the run's own process has ended, too
    assert process.returncode == code
    assert ("interrupted" in error) == (code == 130)
    again = _start(*command)
    error = _end(again)
    assert again.returncode == 0, error
    rows = read_rows(out / "experiment.csv")
    assert {(row["arm"], row["status"], row["steps"]) for row in rows} == {
        ("one", "ok", "40"),
        ("other", "ok", "40"),
    }


def test_two_processes_share_the_runs(boxes: Path, tmp_path: Path) -> None:
    command = arguments(write_recipe(tmp_path, TWO), boxes, tmp_path / "out")
    both = [_start(*command) for _ in range(2)]
    errors = [_end(process) for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    begun = [line for error in errors for line in error.splitlines() if line.startswith("run ")]
    assert sorted(line.partition(": ")[2].partition(",")[0] for line in begun) == ["one", "other"]
    rows = read_rows(tmp_path / "out" / "experiment.csv")
    assert {row["status"] for row in rows} == {"ok"}
