"""Five folds of MSD Task04 by the recipe `cpu`: Dice of each class and fold, and the minutes.

    OMP_NUM_THREADS=1 python benchmarks/cross_validation.py .../Task04_Hippocampus

S with kernel 3 and 16 base channels, as the recipe has it; every case is predicted whole by the
fold that has not seen it. The same command carries on where an interrupted one stopped.
"""

import argparse
import csv
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

NAME, NETWORK = "Task04_Hippocampus", "S-k3-w16"
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Prepare, train all folds, and write a row a region and fold."""
    options = _options()
    cache, runs = options.out / "cache", options.out / "runs"
    _mednext("preprocess", options.data, "--dataset", "msd", "--cache", cache)
    command = ("train", NAME, "--cache", cache, "--recipe", "cpu", "--kernel", "3", "--fold", "cv")
    _mednext(*command, "--runs", runs)
    folder = runs / NAME / NETWORK
    said = "mednext " + shlex.join(map(str, (*command, "--runs", runs)))
    rows = [row for fold in range(5) for row in _rows(folder, fold)]
    rows += _rows_of_all(folder)
    with options.csv.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, [*rows[0], "mednext", "torch", "machine", "command"])
        table.writeheader()
        threads = os.environ.get("OMP_NUM_THREADS", "all")
        about = {
            "mednext": version("mednext"),
            "torch": version("torch"),
            "machine": f"{platform.machine()}, threads: {threads}",
            "command": said,
        }
        table.writerows([{**row, **about} for row in rows])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="five folds of the hippocampus")
    parser.add_argument("data", type=Path, help="Task04_Hippocampus as downloaded")
    parser.add_argument("--out", type=Path, default=Path("cross_validation"))
    parser.add_argument("--csv", type=Path, default=RESULTS / "cross_validation.csv")
    return parser.parse_args()


def _mednext(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "mednext_cli", *map(str, words)], check=True)


def _rows(folder: Path, fold: int) -> list[dict[str, object]]:
    run = folder / f"fold{fold}"
    last = _read(run / "log.csv")[-1]
    summary = {
        row["region"]: row
        for row in _read(run / "validation" / "summary.csv")
        if row["metric"] == "dice"
    }
    return [
        {
            "fold": fold,
            "region": region,
            "dice": round(float(row["mean"]), 4),
            "cases": row["cases"],
            "steps": last["iteration"],
            "training_minutes": round(float(last["seconds"]) / 60, 1),
        }
        for region, row in summary.items()
    ]


def _rows_of_all(folder: Path) -> list[dict[str, object]]:
    """The mean over folds, as cross_validation.csv has it."""
    return [
        {
            "fold": "mean",
            "region": row["region"],
            "dice": round(float(row["mean"]), 4),
            "cases": row["cases"],
            "steps": "",
            "training_minutes": "",
        }
        for row in _read(folder / "cross_validation.csv")
    ]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    main()
