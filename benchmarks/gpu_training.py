"""Full-width networks trained on one GPU: hippocampus at 64^3, made-up CTs at 128^3, UpKern.

    python benchmarks/gpu_training.py .../Task04_Hippocampus --out gpu_training

Runs `mednext` as a user would: preprocess, train S k3 (32 base channels, batch 2, operators,
checkpointing and CUDA graph as `auto` chooses) for `--minutes`, `upkern`, train S k5 for half of
them at half the rate; and, for half of them, S k3 with augmentation on the GPU. One row a run:
Dice of the fold's whole cases, patches a second, the share of time that waited for data, memory.
The same command carries on where an interrupted one stopped; take another --out for other minutes.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from baselines import read, write

from mednext_cli.evaluation.tables.summary import OVERALL

_HIPPOCAMPUS, _PHANTOM = "Task04_Hippocampus", "kits19"


@dataclass(frozen=True)
class Run:
    """One training of fold 0.

    Attributes:
        name: in the table, and of its folder.
        dataset: in the cache.
        kernel: voxels along each axis.
        patch: voxels along each axis.
        share: of `--minutes`.
        begins_from: the run whose kernels UpKern resamples.
        augmentation: `augmentation.device`.
    """

    name: str
    dataset: str
    kernel: int
    patch: int
    share: float = 1.0
    begins_from: str = ""
    augmentation: str = "worker"

    @property
    def settings(self) -> tuple[str, ...]:
        """Beside the published recipe."""
        axes = "plan_left_right" if self.dataset == _HIPPOCAMPUS else "plan"
        return (
            f"training.patch_voxels=[{self.patch}, {self.patch}, {self.patch}]",
            "training.batch_size=2",
            f"training.learning_rate={5e-4 if self.begins_from else 1e-3:g}",
            "training.iterations_per_epoch=100",
            "training.validation_iterations=10",
            f"augmentation.mirror_axes={axes}",
            f"augmentation.device={self.augmentation}",
        )


RUNS = (
    Run("hippocampus_k3", _HIPPOCAMPUS, 3, 64),
    Run("hippocampus_k5_upkern", _HIPPOCAMPUS, 5, 64, 0.5, "hippocampus_k3"),
    Run("phantom_k3", _PHANTOM, 3, 128),
    Run("phantom_k5_upkern", _PHANTOM, 5, 128, 0.5, "phantom_k3"),
    Run("hippocampus_k3_augmented_on_gpu", _HIPPOCAMPUS, 3, 64, 0.5, "", "network"),
)


def main() -> None:
    """Train what is not trained, and write the table after each run."""
    options = _options()
    job = _Job(options)
    for run in RUNS:
        if run.name in options.runs:
            print(job.measure(run), flush=True)
            write(options.out / "gpu_training.csv", job.rows())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="full-width networks trained on one GPU")
    parser.add_argument("data", type=Path, help="Task04_Hippocampus as downloaded")
    parser.add_argument("--out", type=Path, default=Path("gpu_training"))
    parser.add_argument("--minutes", type=float, default=2.0, help="of a training with kernel 3")
    names = [run.name for run in RUNS]
    parser.add_argument("--runs", nargs="+", choices=names, default=names)
    parser.add_argument("--tiny", action="store_true", help="show that it works, on any machine")
    return parser.parse_args()


class _Job:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._out: Path = options.out

    def measure(self, run: Run) -> dict[str, object]:
        """Train, unless that is done, and give the row."""
        done = self._row_of(run)
        if not done.exists():
            done.parent.mkdir(parents=True, exist_ok=True)
            done.write_text(json.dumps(self._trained(run)))
        return dict(json.loads(done.read_text()))

    def rows(self) -> list[dict[str, object]]:
        """Of all runs that are done."""
        files = filter(Path.exists, map(self._row_of, RUNS))
        return [json.loads(file.read_text()) for file in files]

    def _row_of(self, run: Run) -> Path:
        return self._out / "rows" / f"{run.name}.json"

    def _trained(self, run: Run) -> dict[str, object]:
        cache = self._prepared(run.dataset)
        begin, begun = time.monotonic(), (self._out / "runs" / run.name).exists()
        begins_from = self._enlarged(run) if run.begins_from else ()
        settings = [*run.settings, f"training.minutes={self._options.minutes * run.share:g}"]
        if self._options.tiny:
            settings += ["model.mednext.base_channels=4", "training.patch_voxels=[32, 32, 32]"]
            settings += ["training.iterations_per_epoch=2", "training.workers=0"]
            settings += ["inference.mirror=false", "inference.overlap=0"]
        _mednext(
            *("train", run.dataset, "--cache", cache, "--kernel", run.kernel, *begins_from),
            *("--runs", self._out / "runs" / run.name),
            *(word for setting in settings for word in ("--set", setting)),
        )
        seconds = time.monotonic() - begin
        folder = self._folder(run.name)
        summary = read(folder / "validation" / "summary.csv")
        dice = {
            row["region"]: float(row["mean"])
            for row in summary
            if row["metric"] == "dice" and row["region"] != OVERALL
        }
        log = read(folder / "log.csv")
        settled = log[len(log) // 2 :]  # the last is cut off by the minutes, if there are others
        settled = settled[:-1] or settled
        steps, waits = (
            sum(float(row[name]) for row in settled) for name in ("step_seconds", "wait_seconds")
        )
        return {
            "run": run.name,
            "kernel": run.kernel,
            "patch_voxels": run.patch,
            "dice_mean": round(statistics.fmean(dice.values()), 4),
            "dice_by_region": " ".join(f"{name} {value:.4f}" for name, value in dice.items()),
            "iterations": int(log[-1]["iteration"]),
            "training_minutes": round(float(log[-1]["seconds"]) / 60, 2),
            "minutes_in_all": "" if begun else round(seconds / 60, 2),
            "patches_per_second": round(
                statistics.median(float(row["patches_per_second"]) for row in settled), 2
            ),
            "data_wait_share": round(waits / (steps + waits), 3),
            "memory_gib": float(log[-1]["memory_gib"]),
            "settings": " ".join(settings),
            "mednext": version("mednext"),
            "torch": version("torch"),
            "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        }

    def _prepared(self, dataset: str) -> Path:
        """The folder of the caches, with this one; what is there already stays."""
        cache = self._out / "cache"
        if dataset == _HIPPOCAMPUS:
            _mednext("preprocess", self._options.data, "--dataset", "msd", "--cache", cache)
            return cache
        shape, spacing = ("16,48,48", 3) if self._options.tiny else ("64,256,256", 1.5)
        raw = self._out / "raw"
        _mednext("phantom", raw, "--cases", 10, "--seed", 0, "--shape", shape)
        words = ("--dataset", _PHANTOM, "--spacing", spacing, "--cache", cache)
        _mednext("preprocess", raw, *words)
        return cache

    def _enlarged(self, run: Run) -> tuple[object, ...]:
        begins_from = self._out / f"{run.name}.pt"
        checkpoint = self._folder(run.begins_from) / "checkpoint_last.pt"
        _mednext("upkern", "--from", checkpoint, "--to", f"k{run.kernel}", "--out", begins_from)
        return ("--init", begins_from)

    def _folder(self, name: str) -> Path:
        folders = list((self._out / "runs" / name).glob("*/*/fold0"))
        if len(folders) != 1:
            raise SystemExit(f"{self._out}: there is no run {name}; add it to --runs.")
        return folders[0]


def _mednext(*words: object) -> None:
    command = ["mednext", *map(str, words)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", "mednext_cli", *command[1:]], check=True)


if __name__ == "__main__":
    main()
