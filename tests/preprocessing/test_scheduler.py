"""`--scheduler`: the same cache from a Dask cluster, one of whose workers is killed."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.preprocessing.synthetic import cache_of, make_raw, run, stored
from tests.preprocessing.test_reliability import voxels

pytest.importorskip("distributed")
Capture = pytest.CaptureFixture[str]
pytestmark = [
    pytest.mark.slow,
    # Sockets of the client are closed by its own event loop, some after the test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    begun = subprocess.Popen(
        [sys.executable, "-m", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        yield begun
    finally:
        begun.kill()
        begun.wait()
        assert begun.stderr is not None
        begun.stderr.close()


@contextmanager
def started_scheduler() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with process(
        "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard"
    ) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
                yield found[1], begun
                break


@pytest.fixture
def scheduler() -> Iterator[str]:
    with started_scheduler() as (address, _):
        yield address


def worker(address: str) -> "subprocess.Popen[str]":
    options = ["--nthreads", "1", "--no-dashboard", "--no-nanny"]
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, *options],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def preprocess(raw: Path, address: str) -> "subprocess.Popen[str]":
    """The command, once three cases are done."""
    words = [sys.executable, "-m", "mednext_cli", "preprocess", str(raw), "--dataset", "msd"]
    options = ["--cache", str(raw.parent / "cache"), "--scheduler", address]
    main = subprocess.Popen(
        [*words, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while main.poll() is None and len(stored(raw) if cache_of(raw).exists() else []) < 3:
        time.sleep(0.02)
    return main


def test_a_lost_scheduler_is_one_line_and_what_is_done_stays(tmp_path: Path) -> None:
    cases = 80  # some are left when the third is done, however fast the machine
    raw = make_raw(tmp_path, cases)
    with started_scheduler() as (address, begun):
        one = worker(address)
        try:
            main = preprocess(raw, address)
            begun.kill()
            _, err = main.communicate(timeout=120)
        finally:
            one.kill()
            one.wait()
    assert main.returncode == 2
    assert f"error: the scheduler at {address} was lost." in err
    assert "Traceback" not in err
    done = len(stored(raw))
    assert 3 <= done < cases
    assert run(raw) == 0
    assert len(stored(raw)) == cases


def test_a_killed_worker_costs_nothing(tmp_path: Path, scheduler: str) -> None:
    raw, alone = make_raw(tmp_path / "cluster", 24), make_raw(tmp_path / "alone", 24)
    workers = [worker(scheduler), worker(scheduler)]
    try:
        main = preprocess(raw, scheduler)
        workers[0].kill()
        workers[0].wait()  # not a zombie, whose half-written file would count as a live one's
        out, err = main.communicate(timeout=120)
    finally:
        for one in workers:
            one.kill()
            one.wait()
    assert main.returncode == 0, err
    assert "cases made\t24" in out
    assert "preparing: 24/24 cases" in err
    assert run(alone) == 0
    assert voxels(raw) == voxels(alone)


def test_nobody_answers(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where somebody stops listening between our knock and Dask's connection."""
    monkeypatch.setattr("mednext_cli.foundation.cluster._SECONDS_TO_CONNECT", 1)
    monkeypatch.setattr("mednext_cli.foundation.cluster._knock", lambda _: None)
    raw = make_raw(tmp_path, 1)
    assert run(raw, "--scheduler", "tcp://127.0.0.1:9") == 2
    assert "no Dask scheduler answers there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nonsense", "is not an address"),
        ("foo://here:1", "is not an address"),
        ("tcp://127.0.0.1:99999", "is not an address"),
        ("tcp://", "is not an address"),
        ("tcp://127.0.0.1:1", "nobody answers there"),
        ("no-such-host.invalid:8786", "nobody answers there"),
        ("[::1]:1", "nobody answers there"),
    ],
)
def test_an_address_without_a_scheduler_is_one_line(
    tmp_path: Path, capsys: Capture, address: str, says: str
) -> None:
    assert run(make_raw(tmp_path, 1), "--scheduler", address) == 2
    (line,) = (one for one in capsys.readouterr().err.splitlines() if one.startswith("error"))
    assert says in line
    assert "dask scheduler" in line
