import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mednext_cli import __version__
from mednext_cli.app import main

Captured = pytest.CaptureFixture[str]


def _error(capsys: Captured) -> str:
    """What stderr holds, which must be one line."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_version(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mednext {__version__}\n"


def test_no_arguments_show_the_help(capsys: Captured) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "phantom" in shown.out
    assert "error" not in shown.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["phantom"], "Missing argument 'folder'. See mednext phantom --help"),
        (["phantom", "x", "--nope"], "No such option: --nope"),
        (["phantom", "x", "--cases", "0"], "'--cases'"),
        (["phantom", "x", "--cases", "many"], "'--cases'"),
        (["datasets", "burn"], "No such command 'burn'. See mednext datasets --help"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], says: str, capsys: Captured) -> None:
    assert main(arguments) == 2
    error = _error(capsys)
    assert error.startswith("error: ")
    assert says in error


def test_unknown_command(capsys: Captured) -> None:
    assert main(["fly"]) == 2
    assert "error: No such command 'fly'. See mednext --help\n" in capsys.readouterr().err


@pytest.mark.usefixtures("raising")
class TestEnds:
    def test_users_fault(self, capsys: Captured) -> None:
        assert main(["raise-user"]) == 2
        assert _error(capsys) == "error: scan.nii.gz is cut off. Copy it again.\n"

    def test_failed_cases_are_named(self, capsys: Captured) -> None:
        """Their reasons were said when they failed."""
        assert main(["raise-cases"]) == 2
        assert _error(capsys) == "error: 2 of 5 cases failed: b, a. Look at them.\n"

    def test_interrupt(self, capsys: Captured) -> None:
        assert main(["raise-interrupt"]) == 130
        assert "error" not in capsys.readouterr().err

    def test_our_fault_is_one_line(self, capsys: Captured) -> None:
        assert main(["raise-bug"]) == 1
        assert "ZeroDivisionError: two lines" in _error(capsys)

    def test_verbose_shows_where(self) -> None:
        with pytest.raises(ZeroDivisionError):
            main(["raise-bug", "--verbose"])
        logging.captureWarnings(False)


def test_quiet_takes_progress_away(tmp_path: Path, capsys: Captured) -> None:
    shape = "--shape=10,32,32"
    assert main(["phantom", str(tmp_path / "a"), "--cases", "1", shape]) == 0
    assert "drawing phantoms: 1/1 cases" in capsys.readouterr().err
    assert main(["phantom", str(tmp_path / "b"), "--cases", "1", shape, "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_quiet_leaves_what_was_asked_for(capsys: Captured) -> None:
    assert main(["recipes", "show", "cpu", "--quiet"]) == 0
    assert "epochs" in capsys.readouterr().out


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('not here', name='torch')")
    done = subprocess.run(
        [sys.executable, "-m", "mednext_cli", "recipes", "check", "cpu"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the package torch is not installed" in done.stderr


@pytest.mark.slow
def test_interrupted_process_keeps_what_is_done(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    command = [sys.executable, "-m", "mednext_cli", "phantom", str(raw), "--cases", "2000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            while not (raw / "case_00003" / "segmentation.nii.gz").exists():
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("interrupted; what is done stays")
    assert not [path for path in raw.rglob(".*") if path.name != ".phantom.json"]
    assert (raw / "case_00002" / "segmentation.nii.gz").exists()


def test_signals_while_python_ends_change_nothing(tmp_path, monkeypatch):
    """Schedulers send them again and again."""
    late = """
import atexit, os, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    atexit.register(os.kill, os.getpid(), number)
"""
    (tmp_path / "sitecustomize.py").write_text(late)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    command = [sys.executable, "-m", "mednext_cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
