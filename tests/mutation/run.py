"""How many deliberate defects the tests notice: ``make mutants``.

A sample of the defects of `mutants.py`, the same for the same seed, is tried one at a time on a
copy of the package. Each is shown to the fast tests that run its line, found once with coverage;
to those that run any line of its file where the line runs at import or in another process; else to
all fast tests of its room. A defect is killed by a failing test, or by tests that no longer end.
Writes a CSV with a row a defect.
"""

import argparse
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from coverage import CoverageData

from tests.mutation.mutants import Mutant, count_mutants, make_mutant

ROOT = Path(__file__).parents[2]
ROOMS = ("training", "inference", "preprocessing", "cache", "evaluation", "networks")
_COPIED = ("mednext_cli", "tests", "recipes", "pyproject.toml", "docs", "benchmarks")
_MOST_TESTS = 40  # of those that run a line
_SECONDS = 180.0
_PYTEST = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow")


@dataclass(frozen=True)
class Trial:
    """A defect, and the tests to show it to."""

    room: str
    path: Path
    mutant: Mutant
    tests: tuple[str, ...]


def main() -> int:
    """Run the sample; the exit code is 1 where fewer than --at-least percent are killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=120, help="how many defects, over all rooms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="no trial begins later")
    parser.add_argument("--at-least", type=float, default=85.0, help="percent that must be killed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", type=Path, help="only those that survived in this CSV")
    parser.add_argument("--out", type=Path, default=Path("mutants.csv"))
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        copies = [_copy(Path(folder) / str(number)) for number in range(options.jobs)]
        tests = _tests_by_line(copies)
        trials = _choose(tests, options.sample, options.seed)
        if options.again:
            trials = _survivors(options.again, trials)
        rows = _try_all(trials, copies, ends)
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("room", "file", "line", "change", "tests", "outcome"))
        writer.writerows(rows)
    killed = sum(row[-1] != "survived" for row in rows)
    percent = 100 * killed / max(len(rows), 1)
    print(f"{killed} of {len(rows)} killed ({percent:.0f} %): {options.out}")
    return int(percent < options.at_least)


def _copy(folder: Path) -> Path:
    folder.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    data = os.environ.get("MEDNEXT_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    return {
        **os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "MEDNEXT_TEST_DATA": data,
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def _tests_by_line(copies: list[Path]) -> dict[tuple[str, int], set[str]]:
    """Which tests run which line: (file, line) to test ids without parameters."""
    rooms: Queue[Path] = Queue()
    for copy in copies:
        rooms.put(copy)
    with ThreadPoolExecutor(len(copies)) as pool:
        files = list(pool.map(lambda room: _cover(room, rooms), (*ROOMS, "commands")))
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for file in files:
        data = CoverageData(str(file))
        data.read()
        for measured in data.measured_files():
            name = "mednext_cli" + measured.partition("/mednext_cli")[2]
            for line, contexts in data.contexts_by_lineno(measured).items():
                found[name, line] |= set(contexts) - {""}
    return found


def _cover(room: str, copies: "Queue[Path]") -> Path:
    copy = copies.get()
    try:
        (copy / ".coveragerc").write_text("[run]\nsource = mednext_cli\n")
        file = copy / f"coverage-{room}"
        command = [sys.executable, "-m", "coverage", "run", f"--data-file={file}", *_PYTEST]
        command.remove("-x")
        command += ["-p", "tests.mutation.contexts", f"tests/{room}"]
        subprocess.run(
            command, cwd=copy, env=_environment(copy), check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return file
    finally:
        copies.put(copy)


def _tests_of(tests: dict[tuple[str, int], set[str]], name: str, line: int) -> set[str]:
    return tests.get((name, line)) or {
        test for (file, _), found in tests.items() if file == name for test in found
    }


def _survivors(file: Path, trials: list[Trial]) -> list[Trial]:
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["outcome"] == "survived"]
    known = {(row["file"], row["change"]) for row in rows}
    return [one for one in trials if (str(one.path), one.mutant.change) in known]


def _choose(tests: dict[tuple[str, int], set[str]], sample: int, seed: int) -> list[Trial]:
    """As many defects from every room, drawn over its lines."""
    chooser = random.Random(seed)
    trials = []
    for room in ROOMS:
        paths = sorted((ROOT / "mednext_cli" / room).rglob("*.py"))
        known = [
            (path, number)
            for path in paths
            if "kernels" not in path.parts  # Triton's language
            for number in range(count_mutants(path.read_text()))
        ]
        for path, number in chooser.sample(known, min(sample // len(ROOMS), len(known))):
            name, mutant = path.relative_to(ROOT), make_mutant(path.read_text(), number)
            ids = sorted(_tests_of(tests, str(name), mutant.line))
            chooser.shuffle(ids)
            ids.sort(key=lambda one, room=room: f"tests/{room}/" not in one)
            trials.append(Trial(room, name, mutant, tuple(ids[:_MOST_TESTS])))
    chooser.shuffle(trials)  # a run that is cut short has seen every room
    return trials


def _try_all(trials: list[Trial], copies: list[Path], ends: float) -> list[tuple[object, ...]]:
    free: Queue[Path] = Queue()
    for copy in copies:
        free.put(copy)
    with ThreadPoolExecutor(len(copies)) as pool:
        rows = list(pool.map(lambda trial: _try(trial, free, ends), trials))
    return sorted(row for row in rows if row is not None)


def _try(trial: Trial, copies: "Queue[Path]", ends: float) -> tuple[object, ...] | None:
    if time.monotonic() > ends:
        return None
    copy = copies.get()
    path = copy / trial.path
    try:
        path.write_text(trial.mutant.source)
        command = [sys.executable, *_PYTEST, *(trial.tests or (f"tests/{trial.room}",))]
        done = subprocess.run(
            command, cwd=copy, env=_environment(copy), timeout=_SECONDS, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        outcome = "survived" if done.returncode in (0, 5) else "killed"
    except subprocess.TimeoutExpired:
        outcome = "killed: no end"
    finally:
        shutil.copy(ROOT / trial.path, path)
        copies.put(copy)
    row = (trial.room, str(trial.path), trial.mutant.line, trial.mutant.change, len(trial.tests))
    print(*row, outcome, sep="\t", flush=True)
    return (*row, outcome)


if __name__ == "__main__":
    sys.exit(main())
