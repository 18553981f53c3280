"""Standard streams as shells, pipes and schedulers leave them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NO_SPACE = "error: standard output cannot be written: no space left on device\n"


def _shell(redirection: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = f'"$0" -m mednext_cli "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("datasets", "ls"), ("--help",), ("--version",)])
def test_full_output_is_one_line(arguments: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = _shell("> /dev/full", *arguments)
    assert (done.returncode, done.stderr) == (2, NO_SPACE)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_harm_nothing(closed: str, tmp_path: Path) -> None:
    done = _shell(closed, "phantom", str(tmp_path / "raw"), "--cases", "1", "--shape", "8,32,32")
    assert done.returncode == 0
    assert (tmp_path / "raw" / "case_00000" / "imaging.nii.gz").stat().st_size > 1000
    assert "error" not in done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    done = _shell("| true; exit ${PIPESTATUS[0]}", "recipes", "show", "cpu")
    assert (done.returncode, done.stderr) in {(141, ""), (0, "")}


def test_names_that_the_terminal_cannot_show_are_written_out(tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "é").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "mednext_cli", "phantom", str(tmp_path / "é" / "日本\x1b[31m"),
         "--cases", "1", "--shape", "8,32,32"],
        capture_output=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr
