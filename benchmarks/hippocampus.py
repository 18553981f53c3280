"""The main job on MSD Task04: kernel 3, UpKern to kernel 5, and the controls.

Runs the `mednext` command as a user would, and writes one row a network with the Dice of the fold's
cases and the minutes it took:

- k3: trained with the `cpu` recipe, at most 10 minutes on two cores;
- k5_upkern: kernel 5 from k3 by UpKern, trained on for about 5 minutes;
- with --controls, each on one core: one_core_k3 (10 minutes), from it for 5 minutes more
  one_core_k5_upkern and one_core_k3_continued, for the minutes of both together
  one_core_k5_scratch (kernel 5 from nothing), one_core_k5_upkern_long (as many epochs as that,
  from UpKern, as the paper trains) and one_core_k3_long (25 minutes).

A step with kernel 5 takes about 1.35 times as long as one with kernel 3, which is why the networks
have different numbers of epochs; the minutes that each really took are in the table. The same
command carries on where an interrupted one stopped.

    python benchmarks/hippocampus.py .../Task04_Hippocampus --out hippocampus
"""

import argparse
import csv
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

NAME = "Task04_Hippocampus"
MEDNEXT = [sys.executable, "-m", "mednext_cli"]
_TUNE = "cpu_fine_tuning"


def main() -> None:
    """Run the chain and write the table."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    job = _Job(options)
    job.run("preprocess", options.data, "--dataset", "msd", "--cache", job.cache, note="preprocess")
    k3 = job.train("k3", "3", "cpu", epochs=80)
    runs = {"k3": k3, "k5_upkern": job.train_enlarged("k5_upkern", k3)}
    if options.controls:
        runs |= _train_controls(job)
    job.predict_and_rank(runs)
    job.show_table()


def _train_controls(job: "_Job") -> dict[str, Path]:
    """Networks for the same minutes of one core each, which two of them can use side by side."""
    k3 = job.train("one_core_k3", "3", "cpu", epochs=60, threads=1)
    last = k3 / "checkpoint_last.pt"
    continued = "one_core_k3_continued"
    return {
        "one_core_k3": k3,
        "one_core_k5_upkern": job.train_enlarged("one_core_k5_upkern", k3, threads=1),
        continued: job.train(continued, "3", _TUNE, epochs=29, init=last, threads=1),
        "one_core_k5_scratch": job.train("one_core_k5_scratch", "5", "cpu", epochs=65, threads=1),
        "one_core_k5_upkern_long": job.train_enlarged(
            "one_core_k5_upkern_long", k3, threads=1, recipe="cpu", epochs=65
        ),
        "one_core_k3_long": job.train("one_core_k3_long", "3", "cpu", epochs=145, threads=1),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="Task04_Hippocampus as downloaded")
    parser.add_argument("--out", type=Path, default=Path("hippocampus"))
    parser.add_argument("--controls", action="store_true", help="also the six controls")
    return parser.parse_args()


class _Job:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._rows: list[dict[str, object]] = []
        self.cache = options.out / "cache"
        self._table = options.out / "hippocampus.csv"
        self._earlier = {row["network"]: row for row in _read_rows(self._table)}

    def run(self, *arguments: object, note: str = "", threads: int | None = None) -> float:
        """Run one `mednext` command, show it, and return the minutes it took."""
        command = [str(argument) for argument in arguments]
        print(f"\n$ mednext {shlex.join(command)}", flush=True)
        started = time.monotonic()
        limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        subprocess.run([*MEDNEXT, *command], check=True, env={**os.environ, **limit})
        minutes = (time.monotonic() - started) / 60
        print(f"({note or command[0]}: {minutes:.1f} minutes)", flush=True)
        return minutes

    def train_enlarged(
        self,
        name: str,
        k3: Path,
        threads: int | None = None,
        recipe: str = _TUNE,
        epochs: int = 22,
    ) -> Path:
        """Enlarge the kernels of `k3` by UpKern, train on, and note its Dice and minutes."""
        enlarged = self._options.out / f"{name}.pt"
        self.run("upkern", "--from", k3 / "checkpoint_last.pt", "--to", "k5", "--out", enlarged)
        return self.train(name, "5", recipe, epochs, enlarged, threads)

    def train(
        self,
        name: str,
        kernel: str,
        recipe: str,
        epochs: int,
        init: Path | None = None,
        threads: int | None = None,
    ) -> Path:
        """Train one network of fold 0 and note its Dice and minutes."""
        runs = self._options.out / "runs" / name
        start = ("--init", init) if init else ()
        arguments = (
            *("train", NAME, "--cache", self.cache, "--recipe", recipe, "--kernel", kernel),
            *("--set", f"training.epochs={epochs}", "--fold", "0"),
            *("--set", 'augmentation.mirror_axes=["left_right"]'),
            *("--runs", runs, *start),
        )
        folder = runs / NAME / f"S-k{kernel}-w16" / "fold0"
        begun = (folder / "log.csv").exists()
        minutes = self.run(*arguments, note=name, threads=threads)
        if begun and name in self._earlier:  # how it was measured is known from then only
            self._rows.append(self._earlier[name])
            self._write_table()
            return folder
        dice = _read_dice(folder / "validation" / "summary.csv")
        seconds = _read_last(folder / "log.csv")["seconds"]
        self._rows.append(
            {
                "network": name,
                "kernel": kernel,
                "threads": threads or torch.get_num_threads(),
                "recipe": recipe,
                "dice_anterior": dice["anterior"],
                "dice_posterior": dice["posterior"],
                "dice_mean": (dice["anterior"] + dice["posterior"]) / 2,
                "training_minutes": float(seconds) / 60,
                "minutes_with_validation": "" if begun else minutes,
                "iterations": _read_last(folder / "log.csv")["iteration"],
                "command": "mednext " + shlex.join(str(argument) for argument in arguments),
            }
        )
        self._write_table()
        return folder

    def predict_and_rank(self, runs: dict[str, Path]) -> None:
        """Predict the fold's scans with each kernel and with both, score and rank them."""
        out = self._options.out
        images, labels = self._copy_fold(runs["k3"])
        models = {name: ("--model", runs[name]) for name in ("k3", "k5_upkern")}
        models["both"] = (*models["k3"], *models["k5_upkern"])
        for name, chosen in models.items():
            self.run("predict", images, *chosen, "--out", out / "predictions" / name)
            scored = out / "scores" / name
            self.run(
                "evaluate", out / "predictions" / name, labels, "--dataset", "msd", "--out", scored
            )
        ranked = [f"{name}={out / 'scores' / name / 'cases.csv'}" for name in models]
        self.run("leaderboard", *ranked, "--out", out / "leaderboard")

    def _copy_fold(self, run: Path) -> tuple[Path, Path]:
        """Images and labels of the fold's cases, as a dataset of their own."""
        fold = self._options.out / "fold0" / NAME
        cases = sorted(path.name for path in (run / "validation").glob("*.nii.gz"))
        for part in ("imagesTr", "labelsTr"):
            (fold / part).mkdir(parents=True, exist_ok=True)
            for name in cases:
                shutil.copy(self._options.data / part / name, fold / part / name)
        description = json.loads((self._options.data / "dataset.json").read_text())
        description["training"] = [
            {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in cases
        ]
        description |= {"test": [], "numTraining": len(cases), "numTest": 0}
        (fold / "dataset.json").write_text(json.dumps(description))
        return fold / "imagesTr", fold / "labelsTr"

    def _write_table(self) -> None:
        """Write hippocampus.csv, one row a network that is done."""
        machine = {
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        }
        with self._table.open("w", newline="", encoding="utf-8") as stream:
            header = dict.fromkeys([*self._rows[0], *machine])
            writer = csv.DictWriter(stream, header, lineterminator="\n")
            writer.writeheader()
            writer.writerows({**machine, **row} for row in self._rows)

    def show_table(self) -> None:
        """Say where the table is and what is in it."""
        print(f"\n{self._table}")
        for row in _read_rows(self._table):
            anterior, posterior, mean, minutes = (
                float(row[name])
                for name in ("dice_anterior", "dice_posterior", "dice_mean", "training_minutes")
            )
            print(
                f"{row['network']}: Dice anterior {anterior:.4f}, posterior {posterior:.4f}, "
                f"mean {mean:.4f} in {minutes:.1f} minutes of training"
            )


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _read_dice(path: Path) -> dict[str, float]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "dice"]
    return {row["region"]: float(row["mean"]) for row in rows}


def _read_last(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))[-1]


if __name__ == "__main__":
    main()
