"""How many deliberate defects the tests notice: ``make mutants``.

A sample of the defects of `mutants.py`, the same for the same seed, is tried one at a time on a
copy of the package. Each is shown to tests that run its line, found once with coverage; to those
that run any line of its file where the line runs at import or in another process; else to all tests
of its room. Tests that run little else come first, up to a minute of them. A defect is killed by a
failing test, or by tests that no longer end. Writes a CSV with a row a defect.
"""

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from coverage import CoverageData

from tests.mutation.mutants import Mutant, count_mutants, make_mutant

ROOT = Path(__file__).parents[2]
ROOMS = ("training", "inference", "preprocessing", "cache", "evaluation", "networks")
_COPIED = ("mednext_cli", "tests", "recipes", "pyproject.toml", "docs", "benchmarks")
_SECONDS = 60.0  # of tests that one defect is shown to, as long as they take without it
_PATIENCE = 5  # times as long, and they do not end
# Triton's kernels are no Python that coverage follows; their interpreter takes minutes.
_PYTEST = (
    "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ignore=tests/networks/mednext/kernels",
)  # fmt: skip
Lines = dict[tuple[str, int], set[str]]


@dataclass(frozen=True)
class Trial:
    """A defect, and the tests to show it to."""

    room: str
    path: Path
    mutant: Mutant
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """What the tests run without a defect.

    Attributes:
        tests: names of tests, and of files for what their fixtures run, by file and line.
        lines: how many lines each runs.
        seconds: how long each takes.
    """

    tests: Lines
    lines: Counter[str]
    seconds: Counter[str]

    def choose(self, room: str, name: str, mutant: Mutant) -> tuple[str, ...]:
        """The tests to show a defect of this file to."""
        of_line = () if mutant.at_import else self.tests.get((name, mutant.line), ())
        found = of_line or {
            test for (file, _), tests in self.tests.items() if file == name for test in tests
        }
        chosen, seconds = [], 0.0
        for test in sorted(found, key=lambda one: (f"tests/{room}/" not in one, self.lines[one])):
            if not chosen or seconds + self.seconds[test] < _SECONDS:
                chosen.append(test)
                seconds += self.seconds[test]
        return tuple(chosen)


def main() -> int:
    """Run the sample; the exit code is 1 where fewer than --at-least percent are killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=72, help="how many defects, over all rooms")
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
        trials = _choose(_know(copies), options.sample, options.seed)
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


def _know(copies: list[Path]) -> Known:
    rooms: Queue[Path] = Queue()
    for copy in copies:
        rooms.put(copy)
    with ThreadPoolExecutor(len(copies)) as pool:
        files = list(pool.map(lambda room: _cover(room, rooms), ("commands", "settings", *ROOMS)))
    tests: Lines = defaultdict(set)
    seconds: Counter[str] = Counter()
    for file in files:
        seconds.update(json.loads(_seconds_beside(file).read_text(encoding="utf-8")))
        data = CoverageData(str(file))
        data.read()
        for measured in data.measured_files():
            name = "mednext_cli" + measured.partition("/mednext_cli")[2]
            for line, contexts in data.contexts_by_lineno(measured).items():
                tests[name, line] |= set(contexts) - {""}
    lines = Counter(test for found in tests.values() for test in found)
    return Known(dict(tests), lines, seconds)


def _cover(room: str, copies: "Queue[Path]") -> Path:
    copy = copies.get()
    try:
        (copy / ".coveragerc").write_text("[run]\nsource = mednext_cli\n")
        file = copy / f"coverage-{room}"
        command = [sys.executable, "-m", "coverage", "run", f"--data-file={file}", *_PYTEST]
        command += ["-p", "tests.mutation.contexts", f"--seconds={_seconds_beside(file)}"]
        subprocess.run(
            [*command, f"tests/{room}"], cwd=copy, env=_environment(copy), check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return file
    finally:
        copies.put(copy)


def _seconds_beside(coverage_file: Path) -> Path:
    return coverage_file.with_name(f"{coverage_file.name}-seconds.json")


def _survivors(file: Path, trials: list[Trial]) -> list[Trial]:
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["outcome"] == "survived"]
    known = {(row["file"], row["change"]) for row in rows}
    return [one for one in trials if (str(one.path), one.mutant.change) in known]


def _choose(known: Known, sample: int, seed: int) -> list[Trial]:
    """As many defects from every room, drawn over its lines."""
    chooser = random.Random(seed)
    trials = []
    for room in ROOMS:
        paths = sorted((ROOT / "mednext_cli" / room).rglob("*.py"))
        places = [
            (path, number)
            for path in paths
            if "kernels" not in path.parts  # Triton's language
            for number in range(count_mutants(path.read_text()))
        ]
        for path, number in chooser.sample(places, min(sample // len(ROOMS), len(places))):
            name, mutant = path.relative_to(ROOT), make_mutant(path.read_text(), number)
            chosen = known.choose(room, str(name), mutant)
            trials.append(Trial(room, name, mutant, chosen))
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
        command = [sys.executable, *_PYTEST, "-x", *(trial.tests or (f"tests/{trial.room}",))]
        done = subprocess.run(
            command, cwd=copy, env=_environment(copy), timeout=_PATIENCE * _SECONDS, check=False,
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
