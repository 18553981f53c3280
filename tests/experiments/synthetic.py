"""Small experiments on the made-up boxes, and runs that are only pretended."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mednext_cli.experiments.notes import FailedNote, WholeNote, read_token, write_note
from mednext_cli.experiments.one_run import RunTask
from mednext_cli.networks.choice import choose_network
from mednext_cli.training.run_folder import run_folder
from tests.training.synthetic import NAME

TINY = f"""
description = "boxes"
claim = "none"
dataset = "{NAME}"
recipe = "cpu"
seeds = [0, 1]
[budget]
epochs = 1
[settings.model.mednext]
base_channels = 4
[settings.training]
iterations_per_epoch = 2
validation_iterations = 1
patch_voxels = [16, 32, 16]
folds = 2
workers = 0
[settings.inference]
overlap = 0.0
mirror = false
"""
ARMS = """
[arms.k3]
[arms.k5]
start = "k3"
settings.model.mednext.kernel = 5
[arms.longer]
budget = 2.0
"""
CASES, REGIONS = ("case_1", "case_2", "case_3"), ("organ", "lesion")


def write_recipe(folder: Path, text: str = TINY + ARMS) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def arguments(recipe: Path, cache: Path, out: Path, *options: str) -> list[str]:
    folders = ["--cache", str(cache), "--out", str(out)]
    return ["experiment", str(recipe), *folders, "--device", "cpu", *options]


class Pretended:
    """Stands for `run_in_process`: leaves the notes and scores that a run leaves.

    Args:
        dice: of each arm.
        fails: arms whose runs fail, and why.
    """

    def __init__(self, dice: Mapping[str, float], fails: Mapping[str, str] | None = None) -> None:
        self.dice, self.fails = dice, dict(fails or {})
        self.done: list[str] = []

    def __call__(self, task: RunTask) -> None:
        self.done.append(task.key.name)
        if task.arm in self.fails:
            write_note(task.folder, task.key, FailedNote(reason=self.fails[task.arm]))
            return
        label = choose_network(task.recipe.model).label
        run = run_folder(task.folder.runs(task.key), NAME, label, str(task.fold))
        write_scores(run.validation / "cases.csv", self.dice[task.arm], task.seed)
        note = WholeNote(
            folder=run.path.relative_to(task.out).as_posix(),
            device="cpu",
            threads=1,
            minutes=2.0,
            all_minutes=2.5,
            steps=7,
            parameters=1000,
            peak_gib=0.5,
            start_token=read_token(task.start_note) if task.start_note else "",
        )
        write_note(task.folder, task.key, note)


def write_scores(path: Path, dice: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("case", "region", "dice", "surface_dice", "hd95_mm"))
        for case in CASES:
            for region in REGIONS:
                score = dice + noise.uniform(-0.01, 0.01)
                writer.writerow((case, region, score, score, 3.0))
    summary = "region,metric,mean\n" + "".join(f"{name},dice,{dice}\n" for name in REGIONS)
    (path.parent / "summary.csv").write_text(summary)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
