"""Several processes that train one network, as torchrun starts them, and one that is alone."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import MednextError, SettingsError
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.training.distributed import (
    ALONE,
    ElsewhereError,
    SingleProcess,
    any_of,
    explained_loss,
    find_processes,
    together,
)
from tests.training.synthetic import arguments, run_folder

_SECONDS = 600.0  # of patience on a busy machine


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"WORLD_SIZE": "", "RANK": "-1"},
        {"WORLD_SIZE": "many", "RANK": "²"},
        {"WORLD_SIZE": "9" * 10},
    ],
)
def test_a_process_that_is_alone_is_the_first_and_sums_nothing(environment: dict[str, str]) -> None:
    processes = find_processes(environment)
    assert (processes.rank, processes.world_size) == (0, 1)
    values = torch.randn(2, 3, requires_grad=True)
    assert processes.all_reduce(values) is values
    assert processes.gather("a") == ["a"]
    assert processes.device_name("auto") == "auto"
    processes.barrier()


@pytest.mark.parametrize(
    ("environment", "count"),
    [({"WORLD_SIZE": "2", "RANK": "0"}, 2), ({"RANK": "3"}, 4), ({"WORLD_SIZE": "8"}, 8)],
)
def test_several_that_torchrun_did_not_start_are_refused(
    environment: dict[str, str], count: int
) -> None:
    with pytest.raises(SettingsError, match=f"one of {count} processes") as found:
        find_processes(environment)
    assert "torchrun" in str(found.value)


def test_the_command_refuses_them_in_one_line_and_leaves_no_file(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(arguments(boxes, tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this is one of 2 processes")
    assert error.count("\n") == 1
    assert main(arguments(boxes, tmp_path, "--profile", "1")) == 2
    assert "--profile times one process" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class _Among(SingleProcess):
    """A rank whose others say the same every time."""

    world_size: int = 3
    others: tuple[bool, ...] = (False, False, False)

    def gather(self, value: Any) -> list[Any]:
        return [value if rank == self.rank else other for rank, other in enumerate(self.others)]

    def all_reduce(self, values: torch.Tensor) -> torch.Tensor:
        return values + sum(self.others)


def _refused() -> None:
    raise SettingsError("no")


@pytest.mark.parametrize(
    ("rank", "others", "fails", "kind"),
    [
        (1, (False, False, False), False, None),
        (1, (False, False, False), True, SettingsError),
        (1, (False, False, True), True, SettingsError),
        (1, (True, False, False), True, ElsewhereError),
        (1, (False, False, True), False, ElsewhereError),
    ],
)
def test_of_those_that_are_refused_the_first_says_why(
    rank: int, others: tuple[bool, ...], fails: bool, kind: type[MednextError] | None
) -> None:
    caught: type[BaseException] | None = None
    try:
        with together(_Among(rank=rank, others=others)):
            if fails:
                _refused()
    except MednextError as error:
        caught = type(error)
    assert caught is kind


def test_a_flag_of_one_is_everybodys() -> None:
    assert any_of(ALONE, True, False) == (True, False)
    assert any_of(_Among(others=(False, True, False)), False, True) == (True, True)
    assert any_of(_Among(), False, True) == (False, True)


def test_a_process_that_is_gone_is_one_line_and_other_faults_stay_what_they_are() -> None:
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with pytest.raises(MednextError, match="another process of this run"), explained_loss(_Among()):
        raise gone
    with pytest.raises(RuntimeError, match="gloo"), explained_loss(ALONE):
        raise gone
    with pytest.raises(RuntimeError, match="shape"), explained_loss(_Among()):
        raise RuntimeError("shape [2] is invalid")


def _torchrun(call: list[str]) -> list[str]:
    options = ["--standalone", "--nproc-per-node", "2", "-m", "mednext_cli"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *call]


def _log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_two_processes_with_a_patch_each_are_as_one_with_two(boxes: Path, tmp_path: Path) -> None:
    """Losses of ten steps, and of their validations; the cases are shared out, then scored once.

    By SGD: AdamW's first steps are of the size of the rate where a gradient is but rounding. And by
    small steps: a batch of one is summed in another order than one of two, so that gradients differ
    by some 1e-6 of their norm, as each does from float64's. With a momentum of 0.99, ten steps at a
    rate of 1e-2 make 4e-5 of that in the losses, which are equal in seven digits at 1e-3. What a
    fault does to the gradients is still seen: the loss moves by a twentieth.
    """
    settings = ("training.epochs=10", "training.iterations_per_epoch=1")
    settings += ("training.optimiser=sgd", "training.learning_rate=1e-3")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert main(arguments(boxes, alone, settings=(*settings, "training.batch_size=2"))) == 0
    call = arguments(boxes, shared, settings=(*settings, "training.batch_size=1"))
    done = subprocess.run(_torchrun(call), capture_output=True, text=True, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    one, two = run_folder(alone), run_folder(shared)
    for name in ("training_loss", "validation_loss", "dice_organ"):
        values = [[float(row[name]) for row in _log(folder)] for folder in (one, two)]
        assert values[1] == pytest.approx(values[0], rel=1e-5), name
    assert done.stdout.count("trained for") == done.stderr.count("batch 1 in each of 2") == 1
    maps = sorted(path.name for path in (one / "validation").glob("*.nii.gz"))
    assert len(maps) == 2
    assert sorted(path.name for path in (two / "validation").glob("*.nii.gz")) == maps
    assert (two / "validation" / "summary.csv").is_file()


@contextmanager
def _started(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for one in psutil.Process(process.pid).children(recursive=True):
                one.kill()
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _rank(process: "subprocess.Popen[str]", rank: int) -> int:
    for child in psutil.Process(process.pid).children():
        if child.environ().get("RANK") == str(rank):
            return child.pid
    raise AssertionError(f"no rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs gloo over TCP")
def test_a_killed_process_ends_the_job_in_a_line_and_one_alone_goes_on(
    boxes: Path, tmp_path: Path
) -> None:
    settings = ("training.epochs=20", "training.iterations_per_epoch=2")
    call = arguments(boxes, tmp_path, "--fold", "cv", settings=settings)
    last = run_folder(tmp_path) / "checkpoint_last.pt"
    with _started(_torchrun(call)) as process:
        end = time.monotonic() + _SECONDS
        while not last.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(_rank(process, 1), signal.SIGKILL)
        _, error = process.communicate(timeout=_SECONDS)
    assert process.returncode != 0
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: another process of this run ended")
    begun = load_checkpoint(last).progress
    assert 0 < begun.epochs < 20
    assert main(arguments(boxes, tmp_path, settings=settings)) == 0
    ended = load_checkpoint(last).progress
    assert ended.epochs == 20
    assert ended.history[: begun.epochs] == begun.history
