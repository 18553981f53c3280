"""Every network for the same minutes of one core on MSD Task04: `leaderboard.csv` and a table.

    make peers
    python benchmarks/baselines.py .../Task04_Hippocampus --out baselines --peers .venv-peers/bin

Each network is trained with two seeds on fold 0, by its published optimiser and rate, with the same
patches of 32 x 64 x 32 voxels, batch and augmentation, on one thread; a run on each core. Minutes
are of processor time spent in steps, so that what else the machine does takes nothing from a
network. Widths are such that a CPU does some hundred steps of each (see NETWORKS). nnU-Net's own
code has its own plan. The same command goes on where an interrupted one stopped.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Lock

NAME, PEER = "Task04_Hippocampus", "nnunetv2"
_PATCH, _STEPS = "[32, 64, 32]", 50
# `mednext` with training.minutes of the processor.
PROCESSOR_MINUTES = (str(Path(__file__).with_name("baselines_ours.py")),)
# Of the widths that a CPU can train; what is not said is as published.
NETWORKS: dict[str, tuple[str, ...]] = {
    "mednext": ("mednext.base_channels=16",),
    "nnunet": ("nnunet.features=16",),
    "nnunet_resenc": ("nnunet_resenc.features=16",),
    "unetr": (
        "unetr.feature_size=8",
        "unetr.hidden_size=192",
        "unetr.mlp_dim=768",
        "unetr.num_heads=6",
    ),
    "swin_unetr": ("swin_unetr.feature_size=12",),
    "nnformer": ("nnformer.embed_dim=48",),
    "transbts": ("transbts.base_channels=8", "transbts.hidden_dim=1024"),
    "uxnet": ("uxnet.feat_size=[12, 24, 48, 96]", "uxnet.hidden_size=192"),
    "transunet": (
        "transunet.base_channels=16",
        "transunet.most_channels=160",
        "transunet.vit_layers=4",
        "transunet.vit_width=192",
        "transunet.vit_mlp_width=768",
        "transunet.vit_heads=6",
    ),
}


@dataclass(frozen=True)
class Run:
    """A network that is trained for some minutes with one seed."""

    network: str
    seed: int
    minutes: float

    @property
    def name(self) -> str:
        """Of its folders."""
        return f"{self.network}_{self.seed}"


def main() -> None:
    """Train what is not trained, score all, and rank them."""
    options = _options()
    job = Job(options)
    job.prepare()
    runs = [Run(name, seed, options.minutes) for seed in options.seeds for name in options.networks]
    with ThreadPoolExecutor(options.side_by_side) as pool:
        rows = list(pool.map(job.measure, runs))
    write(options.out / "baselines.csv", rows)
    job.rank(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="Task04_Hippocampus as downloaded")
    parser.add_argument("--out", type=Path, default=Path("baselines"))
    parser.add_argument("--peers", type=Path, help="bin of the peers' environment, for nnU-Net")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS, PEER])
    parser.add_argument("--side-by-side", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    if options.peers is None and PEER in options.networks:
        options.networks.remove(PEER)
    return options


class Job:
    """Networks on the hippocampus, each trained once and scored alike.

    Args:
        options: data, out, peers, seeds and networks.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.cache = options.out / "cache"
        self._making_labels = Lock()
        options.out.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """The cache; nnU-Net's own preprocessing and the same split."""
        run_mednext("preprocess", self.options.data, "--dataset", "msd", "--cache", self.cache)
        if PEER in self.options.networks:
            self._prepare_peer()

    def measure(self, run: Run) -> dict[str, object]:
        """Train one network if that is not done, score it, and give its row."""
        done = self.options.out / "rows" / f"{run.name}.json"
        if not done.exists():
            row = self._train_peer(run) if run.network == PEER else self.train(run)
            done.parent.mkdir(exist_ok=True)
            done.write_text(json.dumps(row))
        row = dict(json.loads(done.read_text()))
        print(row, flush=True)
        return row

    def train(self, run: Run) -> dict[str, object]:
        """Train one of our networks, and give its row."""
        settings = [
            *(f"model.{setting}" for setting in NETWORKS[run.network]),
            *(f"training.minutes={run.minutes}", f"training.seed={run.seed}"),
            *(f"training.patch_voxels={_PATCH}", "training.batch_size=2", "training.workers=0"),
            *(f"training.iterations_per_epoch={_STEPS}", "training.validation_iterations=4"),
            'augmentation.mirror_axes=["left_right"]',
        ]
        return self.train_with(run, settings, "--network", run.network)

    def train_with(self, run: Run, settings: list[str], *more: object) -> dict[str, object]:
        """Train with these settings and further words of the command, and give the row."""
        runs = self.options.out / "runs" / run.name
        words = ["train", NAME, "--cache", self.cache, "--runs", runs, *more]
        for setting in settings:
            words += ["--set", setting]
        run_mednext(*words, program=PROCESSOR_MINUTES)
        [folder] = runs.glob(f"{NAME}/*/fold0")
        steps = read(folder / "log.csv")[-1]["iteration"]
        return self._row(run, folder / "validation", steps, settings)

    def _train_peer(self, run: Run) -> dict[str, object]:
        results = self.options.out / "nnunet" / f"results_{run.name}"
        command = [
            *(
                str(self.options.peers / "python"),
                str(Path(__file__).with_name("baselines_peer.py")),
            ),
            *("--minutes", str(run.minutes), "--seed", str(run.seed)),
        ]
        more = {**_folders(self.options.out / "nnunet"), "nnUNet_results": str(results)}
        more |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
        done = subprocess.run(
            command, env=_environment() | more, stdout=subprocess.PIPE, check=True
        )
        told = json.loads(done.stdout.splitlines()[-1])
        validation = Path(told["folder"]) / "validation"
        return self._row(run, validation, told["steps"], ["its own plan"])

    def _row(
        self, run: Run, predictions: Path, steps: object, settings: list[str]
    ) -> dict[str, object]:
        """Dice of the fold's cases, scored by the same code for all."""
        scores = self.options.out / "scores" / run.name
        run_mednext(
            *("evaluate", predictions, self._labels_of(predictions), "--dataset", "msd"),
            *("--out", scores, "--workers", "0"),
        )
        dice = {
            row["region"]: float(row["mean"])
            for row in read(scores / "summary.csv")
            if row["metric"] == "dice"
        }
        return {
            "network": run.network,
            "seed": run.seed,
            "dice_anterior": round(dice["anterior"], 4),
            "dice_posterior": round(dice["posterior"], 4),
            "dice_mean": round((dice["anterior"] + dice["posterior"]) / 2, 4),
            "steps": int(str(steps)),
            "training_minutes": run.minutes,
            "settings": " ".join(settings),
            "mednext": version("mednext"),
            "torch": version("torch"),
            "machine": f"{platform.machine()}, 1 thread",
        }

    def _labels_of(self, predictions: Path) -> Path:
        """The cases' labels, as a dataset of their own."""
        made = self.options.out / "labels" / NAME
        with self._making_labels:
            if not (made / "dataset.json").exists():
                self._make_labels(sorted(path.name for path in predictions.glob("*.nii.gz")), made)
        return made

    def _make_labels(self, cases: list[str], made: Path) -> None:
        for part in ("imagesTr", "labelsTr"):
            (made / part).mkdir(parents=True, exist_ok=True)
            for name in cases:
                shutil.copy(self.options.data / part / name, made / part / name)
        description = json.loads((self.options.data / "dataset.json").read_text())
        description["training"] = [
            {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in cases
        ]
        description |= {"test": [], "numTraining": len(cases), "numTest": 0}
        (made / "dataset.json").write_text(json.dumps(description))

    def _prepare_peer(self) -> None:
        """nnU-Net's folders, its plan, and fold 0 as mednext splits it."""
        from mednext_cli.cache.reader import open_cache
        from mednext_cli.training.splits import choose_split

        folder = self.options.out / "nnunet"
        raw = folder / "raw" / "Dataset902_Hippocampus"
        made = folder / "preprocessed" / "Dataset902_Hippocampus"
        if not (made / "splits_final.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            for part, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
                (raw / part).mkdir(parents=True)
                for path in sorted((self.options.data / part).glob("[!.]*.nii.gz")):
                    name = path.name.removesuffix(".nii.gz")
                    shutil.copy(path, raw / part / f"{name}{ending}.nii.gz")
            description = {
                "channel_names": {"0": "MRI"},
                "labels": {"background": 0, "anterior": 1, "posterior": 2},
                "numTraining": len(list((raw / "labelsTr").iterdir())),
                "file_ending": ".nii.gz",
            }
            (raw / "dataset.json").write_text(json.dumps(description))
            tool = str(self.options.peers / "nnUNetv2_plan_and_preprocess")
            command = [tool, "-d", "902", "-npfp", "1", "-np", "1", "-c", "3d_fullres"]
            environment = _environment() | _folders(folder)
            subprocess.run(command, env=environment, check=True)
            cached = open_cache(self.cache / NAME)
            split = choose_split(cached.labelled_ids, "0", 5, self.cache / NAME / "splits.json")
            fold = {"train": list(split.training), "val": list(split.validation)}
            (made / "splits_final.json").write_text(json.dumps([fold] * 5))

    def rank(self, rows: list[dict[str, object]]) -> None:
        """One leaderboard a seed: methods are compared on the same cases."""
        for seed in self.options.seeds:
            entries = [
                f"{row['network']}={self.options.out}/scores/{row['network']}_{seed}/cases.csv"
                for row in rows
                if row["seed"] == seed
            ]
            if len(entries) > 1:
                run_mednext(
                    "leaderboard", *entries, "--out", self.options.out / f"leaderboard_{seed}"
                )


def run_mednext(*words: object, program: Sequence[str] = ("-m", "mednext_cli")) -> None:
    """`mednext` with these words, on one thread; it must succeed."""
    command = [sys.executable, *program, *map(str, words), "--quiet"]
    subprocess.run(command, env=_environment(), check=True)


def _environment() -> dict[str, str]:
    """Of one thread."""
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(limits, "1")}


def _folders(folder: Path) -> dict[str, str]:
    return {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """A CSV of rows that all have the columns of the first."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
