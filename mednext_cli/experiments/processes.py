"""Runs in processes of their own: begun, waited for, and what became of those that only die."""

import logging
import signal
import subprocess
import sys
from contextlib import suppress

from mednext_cli.experiments.notes import FailedNote, read_note, write_note
from mednext_cli.experiments.one_run import DONE, FAILED, INTERRUPTED, RunTask
from mednext_cli.foundation.children import starting_children

_COMMAND = [sys.executable, "-m", "mednext_cli.experiments.one_run"]
_SIGKILL = getattr(signal, "SIGKILL", 9)  # Windows has none
_SECONDS_TO_END = 5.0  # of a process that was told twice
logger = logging.getLogger(__name__)


def run_in_process(task: RunTask) -> None:
    """Do a run in a process of its own; what became of it stands in its note.

    Raises:
        KeyboardInterrupt: interrupted, here or there; what the run has done is saved.
        StorageError: the disk refuses.
    """
    code = _wait(_begin(task))
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (DONE, FAILED):
        write_note(task.folder, task.key, FailedNote(reason=_explain(code)))
    elif read_note(task.folder, task.key) is None:
        reason = "its process ended without a word. Run the same command again."
        write_note(task.folder, task.key, FailedNote(reason=reason))


def _begin(task: RunTask) -> "subprocess.Popen[str]":
    with starting_children():
        process = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    with suppress(OSError):  # it has ended already, as its exit code will say
        process.stdin.write(task.model_dump_json() + "\n")
        process.stdin.flush()
    return process


def _wait(process: "subprocess.Popen[str]") -> int:
    """The exit code; an interruption here is passed on, and waited for until the run is saved."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Whatever happened: nobody stays behind."""
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    with suppress(OSError):
        process.stdin.close()  # at which it ends
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _explain(code: int) -> str:
    """One line for the end of a process that said nothing."""
    if code in (-_SIGKILL, 128 + _SIGKILL):
        return (
            "its process was killed, most likely for its memory. "
            "Use a machine with more, or a smaller network, patch or batch."
        )
    return f"its process died with exit code {code}. Run mednext train with its recipe to see why."
