"""``mednext predict`` in a process that meets others and ends itself at moments that tests choose.

A test that waits and then kills hits another moment on a busy machine, or comes too late.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from mednext_cli.app import main_and_exit
from mednext_cli.inference.record import PredictionRecord, Standing

_SECONDS = 600.0  # of patience on a busy machine
_KILL = 9  # SIGKILL, which Windows has no name for


@dataclass(frozen=True)
class End:
    """When a run ends itself.

    Attributes:
        suffix: of the names of files.
        count: at which of those that it writes.
        placed: once the file is in its place, not while half of it is written beside it.
        number: of the signal that it sends to itself; one that is handled finds the file whole.
    """

    suffix: str
    count: int = 1
    placed: bool = False
    number: int = _KILL


@dataclass(frozen=True)
class Meeting:
    """Where runs wait for each other.

    Attributes:
        folder: an empty one.
        runs: how many are to come.
        claims: how many cases this run has claimed when it comes; it goes on when all are there.
    """

    folder: str
    runs: int
    claims: int = 1


def start(
    images: Path, out: Path, model: Path, *options: str, end: End | None, meeting: Meeting | None
) -> "subprocess.Popen[str]":
    """Begin such a run, on one thread."""
    return _start((end, meeting), images, out, model, *options)


def end_again_and_again(
    images: Path, out: Path, model: Path, *options: str, ends: Sequence[End]
) -> list[int]:
    """Runs one after the other, in forks of a process that computes nothing; their exit codes."""
    runs = _start([(end, None) for end in ends], images, out, model, *options)
    try:
        said, error = runs.communicate(timeout=len(ends) * _SECONDS)
    finally:
        runs.kill()
    assert runs.returncode == 0, error
    sys.stderr.write(error)  # which is shown where a test fails
    return [int(code) for code in said.splitlines()]


def _start(
    plan: tuple[End | None, Meeting | None] | list[tuple[End | None, Meeting | None]],
    images: Path,
    out: Path,
    model: Path,
    *options: str,
) -> "subprocess.Popen[str]":
    told = json.dumps(plan, default=asdict)
    words = ["predict", str(images), "--model", str(model), "--out", str(out)]
    always = ["--device", "cpu", "--engine", "torch", "--workers", "0"]
    return subprocess.Popen(
        [sys.executable, "-m", __name__, told, *words, *always, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _end_at(end: End) -> None:
    """Have this process end there: every file takes its place by `Path.replace`."""
    real, seen = Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal seen
        seen += str(target).endswith(end.suffix)
        reached = str(target).endswith(end.suffix) and seen == end.count
        if reached and not end.placed:
            if end.number == _KILL:
                os.truncate(self, self.stat().st_size // 2)
            os.kill(os.getpid(), end.number)
        result = real(self, target)
        if reached and end.placed:
            os.kill(os.getpid(), end.number)
        return result

    Path.replace = replace  # type: ignore[assignment,method-assign]


def _meet_at(meeting: Meeting) -> None:
    """Have this process wait there."""
    real, mine = PredictionRecord.claim, 0

    def claim(self: PredictionRecord, case: object) -> Standing:
        nonlocal mine
        standing = real(self, case)  # type: ignore[arg-type]
        mine += standing is Standing.MINE
        if standing is Standing.MINE and mine == meeting.claims:
            (Path(meeting.folder) / str(os.getpid())).touch()
            patience = time.monotonic() + _SECONDS
            while len(list(Path(meeting.folder).iterdir())) < meeting.runs:
                assert time.monotonic() < patience
                time.sleep(0.02)
        return standing

    PredictionRecord.claim = claim  # type: ignore[assignment,method-assign]


def _run(end: dict[str, Any] | None, meeting: dict[str, Any] | None) -> NoReturn:
    if end is not None:
        _end_at(End(**end))
    if meeting is not None:
        _meet_at(Meeting(**meeting))
    main_and_exit()


def _run_each(plan: list[tuple[dict[str, Any] | None, dict[str, Any] | None]]) -> None:
    """What a run imports is imported once: that is most of the time of a run that is killed."""
    import_module("mednext_cli.commands.predict")
    import_module("mednext_cli.inference.predict")
    for run in plan:
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _run(*run)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    told = json.loads(sys.argv.pop(1))
    if isinstance(told[0], list):
        _run_each(told)
    else:
        _run(*told)
