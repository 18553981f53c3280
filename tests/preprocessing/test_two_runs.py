"""Two runs on one cache, cases that turn bad, faults of ours, Ctrl-C at the start."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import mednext_cli.preprocessing.run as run_module
from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.leftovers import name_beside
from mednext_cli.foundation.locks import locked
from tests.preprocessing.synthetic import cache_of, image_of, label_of, make_raw, run, stored, write
from tests.preprocessing.test_reliability import voxels

Capture = pytest.CaptureFixture[str]
_SECONDS = 300.0  # of patience on a busy machine


def command(raw: Path, *options: str) -> list[str]:
    cache = ["--cache", str(raw.parent / "cache")]
    words = ["-m", "mednext_cli", "preprocess", str(raw), "--dataset", "msd", *cache, *options]
    return [sys.executable, *words]


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(tmp_path: Path) -> None:
    raw, alone = make_raw(tmp_path / "both", 8), make_raw(tmp_path / "alone", 8)
    both = [
        subprocess.Popen(
            command(raw, "--workers", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=_SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    made = sorted(
        line for out, _ in said for line in out.decode().splitlines() if "cases made" in line
    )
    assert made == ["cases made\t0", "cases made\t8"]
    assert run(alone) == 0
    assert voxels(raw) == voxels(alone)


@pytest.mark.slow
def test_the_second_run_says_that_it_waits(tmp_path: Path) -> None:
    raw = make_raw(tmp_path, 1)
    with locked(cache_of(raw)):
        process = subprocess.Popen(
            command(raw, "--workers", "0"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert line.startswith("warning: another run works in ")
        assert stored(raw) == []
    assert process.wait(_SECONDS) == 0
    process.stderr.close()
    assert stored(raw) == ["case_0.h5"]


def test_a_case_that_turned_bad_leaves_the_cache(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path)
    assert run(raw) == 0
    write(image_of(raw), np.full((22, 24, 12), 5, np.int16))
    assert run(raw) == 2
    assert "case_0: what an earlier run made of it is removed" in capsys.readouterr().err
    assert stored(raw) == ["case_1.h5", "case_2.h5"]
    for name in ("case_1", "case_2"):
        image_of(raw, name).write_bytes(b"no")
    assert run(raw) == 2
    assert stored(raw) == []
    assert open_cache(cache_of(raw)).case_ids == ()


@pytest.mark.parametrize(("error", "code"), [(ZeroDivisionError("ours"), 1), (MemoryError(), 2)])
def test_an_unexpected_error_fails_one_case(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    raw = make_raw(tmp_path)
    real = run_module.store_case

    def faulty(task: run_module.StoreTask, **options: object) -> None:
        if task.case.id == "case_1":
            raise error
        real(task, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "store_case", faulty)
    assert run(raw) == code
    assert "case_1: " in capsys.readouterr().err
    assert stored(raw) == ["case_0.h5", "case_2.h5"]


def name_of_a_dead_process(path: Path) -> Path:
    code = "import sys, pathlib, mednext_cli.foundation.leftovers as leftovers;"
    code += "print(leftovers.name_beside(pathlib.Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def test_leftovers_of_dead_runs_are_removed(tmp_path: Path) -> None:
    raw = make_raw(tmp_path, 1)
    folder = cache_of(raw)
    (folder / "fingerprints").mkdir(parents=True)
    beside = [
        name_of_a_dead_process(folder / "case_0.h5"),
        name_of_a_dead_process(folder / "fingerprints" / "case_0.json"),
    ]
    alive = name_beside(folder / "case_0.h5")
    for path in (*beside, alive):
        path.write_bytes(b"half")
    assert run(raw) == 0
    assert [path.exists() for path in (*beside, alive)] == [False, False, True]


@pytest.mark.parametrize("modality", ["CT", "MRI"])
def test_no_foreground_at_all_is_refused(tmp_path: Path, capsys: Capture, modality: str) -> None:
    raw = make_raw(tmp_path, 2, modality=modality)
    for number in range(2):
        write(label_of(raw, f"case_{number}"), np.zeros((22 + number, 24, 12), np.uint8))
    assert run(raw) == 2
    assert "no case has any foreground" in capsys.readouterr().err
    assert stored(raw) == []


@pytest.mark.slow
@pytest.mark.parametrize("begun", [1, 2])
def test_interrupted_while_workers_begin(tmp_path: Path, begun: int) -> None:
    """Ctrl-C goes to the whole process group, as from a terminal, once so many workers are there.

    Each takes a second to import what it needs, so none is at work yet.
    """
    raw = make_raw(tmp_path, 30)
    process = subprocess.Popen(
        command(raw, "--workers", "2", "--quiet"),
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + _SECONDS
    while _count_workers(process.pid) < begun:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=_SECONDS)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert not list(cache_of(raw).rglob(".[0-9]*"))


def _count_workers(process: int) -> int:
    """Processes that Python's multiprocessing has begun for this one."""
    found = 0
    for child in psutil.Process(process).children():
        with contextlib.suppress(psutil.Error):  # ended meanwhile
            found += "--multiprocessing-fork" in child.cmdline()
    return found
