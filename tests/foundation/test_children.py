"""Worker processes: deaf to what reaches a whole group, bound to their parent."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups' signals")

_SECONDS = 300.0  # of patience on a busy machine
# A parent with two children: one that says when it has begun, and one that still starts.
_SCRIPT = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from mednext_cli.foundation.children import begin_child, starting_children

def child(folder, delay):
    Path(folder, f"{os.getpid()}.started").touch()
    time.sleep(delay)
    begin_child()
    Path(folder, f"{os.getpid()}.begun").touch()
    time.sleep(60)

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: Path(sys.argv[1], "signalled").touch())
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=child, args=(sys.argv[1], d)) for d in (0, 1.5)]
    with starting_children():
        for one in children:
            one.start()
    while not Path(sys.argv[1], "stop").exists():
        time.sleep(0.05)
    for one in children:
        one.terminate()
        one.join()
"""


def _wait_for(found: object) -> None:
    end = time.monotonic() + _SECONDS
    while not found():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def parent(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    script = tmp_path / "parent.py"
    script.write_text(_SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], start_new_session=True)
    try:
        _wait_for(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        yield process
    finally:
        for one in (process.pid, *_children(tmp_path)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        process.wait()


def _children(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.started")]


@pytest.mark.slow
def test_signals_to_the_group_leave_workers_alone_and_the_parent_can_stop_them(
    parent: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    """One worker has begun, one still starts, as a worker does that imports torch."""
    _wait_for(lambda: list(tmp_path.glob("*.begun")))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.killpg(parent.pid, number)
        _wait_for((tmp_path / "signalled").exists)
    _wait_for(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
    assert all(map(_is_alive, _children(tmp_path)))
    (tmp_path / "stop").touch()
    assert parent.wait(timeout=_SECONDS) == 0
    assert not any(map(_is_alive, _children(tmp_path)))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_workers_end_with_a_killed_parent(
    parent: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    """Also the one that has not yet begun."""
    _wait_for(lambda: list(tmp_path.glob("*.begun")))
    parent.kill()
    parent.wait()
    _wait_for(lambda: not any(map(_is_alive, _children(tmp_path))))


# Work over cases that says when it is at work, or, with `begins`, when its workers begin.
_RUN = """
import os, sys, time
from pathlib import Path
from mednext_cli.foundation.children import GROUP_SIGNALS
from mednext_cli.foundation.progress import set_verbosity
from mednext_cli.foundation.workers import RunSettings, run_over
import signal

def work(folder):
    Path(folder, f"{os.getpid()}.started").touch()
    time.sleep(60)

if __name__ == "__main__":
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    set_verbosity(quiet=True)
    try:
        list(run_over(work, [sys.argv[1]] * 3, str, RunSettings(2), "testing"))
    except KeyboardInterrupt:
        sys.exit(130)
"""
_BEGINS = """
import os, sys, time
from pathlib import Path
if "--multiprocessing-fork" in sys.orig_argv:
    Path({folder!r}, f"{{os.getpid()}}.started").touch()
    time.sleep(1)
"""


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_worker_and_prints_no_traceback(
    number: signal.Signals, begins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's resource tracker included, which all processes share."""
    (tmp_path / "run.py").write_text(_RUN)
    if begins:
        (tmp_path / "sitecustomize.py").write_text(_BEGINS.format(folder=str(tmp_path)))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    _wait_for(lambda: len(_children(tmp_path)) == 2)
    os.killpg(run.pid, number)
    _, said = run.communicate(timeout=_SECONDS)
    assert (run.returncode, said) == (130, b"")
    assert not any(map(_is_alive, _children(tmp_path)))
