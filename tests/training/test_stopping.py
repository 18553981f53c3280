"""Signals to the whole group, and dead workers: the state is saved and nobody stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from mednext_cli.networks.checkpoint import load_checkpoint
from tests.training.synthetic import arguments, run_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks processes up in /proc"),
]
SETTINGS = ("training.workers=2", "training.iterations_per_epoch=6")
_SECONDS = 300.0  # of patience on a busy machine


@contextmanager
def _training(cache: Path, runs: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "mednext_cli", *arguments(cache, runs, settings=SETTINGS)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        for one in [process.pid, *_group(process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _group(leader: int) -> list[int]:
    """The live processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def _loaders(leader: int) -> list[int]:
    return [one for one in _group(leader) if b"spawn_main" in _command(one)]


def _command(process: int) -> bytes:
    """Empty where it has ended since it was found."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + _SECONDS
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def _end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, error = process.communicate(timeout=_SECONDS)
    _wait_for(lambda: not _group(process.pid))
    return process.returncode, error


@pytest.fixture(scope="module")
def undisturbed(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What a run ends with that nobody stopped."""
    runs = tmp_path_factory.mktemp("undisturbed")
    with _training(boxes, runs) as process:
        assert _end(process)[0] == 0
    return load_checkpoint(run_folder(runs) / "checkpoint_last.pt").state_dict


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,) * 3, (signal.SIGINT,), (signal.SIGHUP,)])
def test_a_signal_to_the_group_saves_and_the_run_ends_as_undisturbed(
    boxes: Path, tmp_path: Path, numbers: tuple[int, ...], undisturbed: dict[str, torch.Tensor]
) -> None:
    """While the workers begin: then the state is saved after the first step."""
    with _training(boxes, tmp_path / "stopped") as process:
        _wait_for(lambda: len(_loaders(process.pid)) == 2)
        for number in numbers:  # batch systems send more than one
            os.killpg(process.pid, number)
        code, error = _end(process)
    assert code == 130
    assert "fault of ours" not in error
    assert "Traceback" not in error
    last = run_folder(tmp_path / "stopped") / "checkpoint_last.pt"
    assert 0 < load_checkpoint(last).progress.iteration < 12
    with _training(boxes, tmp_path / "stopped") as process:
        assert _end(process)[0] == 0
    ended = load_checkpoint(last).state_dict
    assert all(torch.equal(ended[name], undisturbed[name]) for name in undisturbed)


def test_workers_end_with_a_killed_run(boxes: Path, tmp_path: Path) -> None:
    with _training(boxes, tmp_path) as process:
        _wait_for(lambda: len(_loaders(process.pid)) == 2)
        process.kill()
        process.wait()
        _wait_for(lambda: not _group(process.pid))


def test_a_dead_worker_ends_the_run_with_its_remedy_and_the_state_saved(
    boxes: Path, tmp_path: Path
) -> None:
    with _training(boxes, tmp_path) as process:
        _wait_for(lambda: len(_loaders(process.pid)) == 2)
        os.kill(_loaders(process.pid)[-1], signal.SIGKILL)
        code, error = _end(process)
    assert code == 2
    line = error.strip().splitlines()[-1]
    assert "a process that prepares batches died" in line
    assert "--set training.workers=1" in line
    assert (run_folder(tmp_path) / "checkpoint_last.pt").is_file()
