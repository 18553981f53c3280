"""One process at a time in a folder; what the dead leave does not last."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.locks import LOCK_NAME, locked

_HOLD = """
import sys
from pathlib import Path
from mednext_cli.foundation.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_does_not_wait_is_told_who_holds_the_lock_and_since_when(tmp_path: Path) -> None:
    process = _hold(tmp_path)
    with pytest.raises(StorageError) as caught, locked(tmp_path, wait=False):
        raise AssertionError("two hold the lock")
    process.communicate("")
    text = str(caught.value)
    assert f"(process {process.pid} on {platform.node()}, since 20" in text
    with locked(tmp_path, wait=False):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    process = _hold(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with (
        locked(tmp_path, wait=False),
        pytest.raises(StorageError) as caught,
        locked(tmp_path, wait=False),
    ):
        raise AssertionError("two hold the lock")
    assert f"process {os.getpid()} " in str(caught.value)  # not the dead one's number


def test_a_foreign_text_in_the_lock_is_not_repeated(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK_NAME).write_bytes(b" (process 1 on \x1b[31m, since 2026)\xff")
        with pytest.raises(StorageError) as caught, locked(tmp_path, wait=False):
            raise AssertionError("two hold the lock")
    assert "process" not in str(caught.value)
