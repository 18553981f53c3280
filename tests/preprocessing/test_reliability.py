"""What must survive: dead workers, full disks, Ctrl-C and SIGKILL, at any moment."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import mednext_cli.preprocessing.run as run_module
from mednext_cli.cache.reader import open_cache
from mednext_cli.datasets.dataset import Channel, Dataset
from mednext_cli.foundation.workers import RunSettings, run_over
from mednext_cli.preprocessing.run import PreprocessSpec, preprocess
from tests.preprocessing.deadly import DeadlyPath
from tests.preprocessing.synthetic import cache_of, label_of, make_raw, run, stored

Capture = pytest.CaptureFixture[str]


def voxels(raw: Path) -> dict[str, bytes]:
    """All datasets of all case files."""
    found = {}
    for name in stored(raw):
        with h5py.File(cache_of(raw) / name) as file:
            file.visititems(
                lambda key, item, name=name: found.__setitem__(
                    f"{name}/{key}", item[()].tobytes() if isinstance(item, h5py.Dataset) else b""
                )
            )
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_and_the_others_are_done(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path, 4)
    real = run_module.read_dataset

    def with_a_deadly_case(folder: Path, layout: str, _: object = None) -> Dataset:
        dataset = real(folder, layout)
        first, deadly, *others = dataset.cases
        channel = Channel(DeadlyPath(deadly.channels[0].path))
        return replace(dataset, cases=(first, replace(deadly, channels=(channel,)), *others))

    monkeypatch.setattr(run_module, "read_dataset", with_a_deadly_case)
    assert run(raw, workers=2) == 2
    err = capsys.readouterr().err
    assert "case_1: the worker was killed" in err
    assert err.splitlines()[-1].startswith("error: 1 of 4 cases failed: case_1. ")
    assert stored(raw) == ["case_0.h5", "case_2.h5", "case_3.h5"]


def test_interrupted_what_is_done_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_raw(tmp_path, 4)
    real = run_module.store_case

    def interrupt(task: run_module.StoreTask, **options: object) -> None:
        if task.case.id == "case_2":
            raise KeyboardInterrupt
        real(task, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "store_case", interrupt)
    assert run(raw) == 130
    assert stored(raw) == ["case_0.h5", "case_1.h5"]
    assert open_cache(cache_of(raw)).case_ids == ("case_0", "case_1")
    monkeypatch.setattr(run_module, "store_case", real)
    result = preprocess(PreprocessSpec(raw, "msd", tmp_path / "cache", workers=0))
    assert (result.made, result.kept) == (2, 2)


def test_no_case_of_an_older_plan_is_ever_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path)
    assert run(raw) == 0

    def look(*_: object, **__: object) -> None:
        cached = open_cache(cache_of(raw))
        assert cached.plan.spacing_mm == (2.0, 2.0, 2.0)
        assert cached.case_ids == ()
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "store_case", look)
    assert run(raw, "--spacing", "2.0") == 130


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_no_space_left_on_the_device(tmp_path: Path, workers: int) -> None:
    """A limit on the size of files stands in for a full disk: case files do not fit."""
    raw = make_raw(tmp_path)
    command = [sys.executable, "-m", "mednext_cli", "preprocess", str(raw), "--dataset", "msd"]
    options = ["--cache", str(tmp_path / "cache"), "--workers", str(workers), "--quiet"]
    size = 14_000
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert "case_0.h5 cannot be written: " in lines[0]
    assert os.strerror(errno.EFBIG).lower() in lines[0].lower()
    assert stored(raw) == []
    assert run(raw) == 0


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again(tmp_path: Path) -> None:
    """SIGKILL to the whole process group; the last run ends with what an undisturbed one makes.

    MEDNEXT_TEST_KILLS=20 kills twenty times. Each run starts from the cache that the last left.
    """
    undisturbed = make_raw(tmp_path / "undisturbed", 24)
    assert run(undisturbed) == 0
    raw = make_raw(tmp_path / "disturbed", 24)
    command = [sys.executable, "-m", "mednext_cli", "preprocess", str(raw), "--dataset", "msd"]
    options = ["--cache", str(raw.parent / "cache"), "--workers", "1", "--quiet"]
    random = np.random.default_rng(7)
    for seconds in random.uniform(1.0, 4.0, int(os.environ.get("MEDNEXT_TEST_KILLS", "4"))):
        force = ["--force"] if random.random() < 0.5 else []  # so that there is work to disturb
        process = subprocess.Popen([*command, *options, *force], start_new_session=True)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert run(raw) == 0
    assert voxels(raw) == voxels(undisturbed)
    assert not list(cache_of(raw).rglob(".[0-9]*"))


def test_the_number_of_workers_fits_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path, 6)
    asked: list[int] = []

    def note(work, items, name, settings, description):
        asked.append(settings.count(items))
        return run_over(work, items, name, RunSettings(workers=0), description)

    monkeypatch.setattr(run_module, "run_over", note)
    monkeypatch.setattr("mednext_cli.foundation.machine.usable_cores", lambda: 64)
    monkeypatch.setattr("mednext_cli.foundation.machine.free_memory_bytes", lambda: 2**30)
    preprocess(PreprocessSpec(raw, "msd", tmp_path / "cache"))
    assert asked == [3, 3]
    monkeypatch.setattr("mednext_cli.foundation.machine.free_memory_bytes", lambda: 2**34)
    preprocess(PreprocessSpec(raw, "msd", tmp_path / "other"))
    assert asked[2:] == [6, 6]


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_what_is_no_file_fails_alone(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = make_raw(tmp_path)
    path = label_of(raw)
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert run(raw) == 2
    said = capsys.readouterr().err
    assert "1 of 3 cases failed: case_0" in said
    assert f"warning: case_0: {path}" in said
    assert stored(raw) == ["case_1.h5", "case_2.h5"]
