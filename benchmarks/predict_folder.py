r"""A folder of small scans from the start of the command to its last file: ours and nnU-Net's.

    make peers
    OMP_NUM_THREADS=1 python benchmarks/predict_folder.py .../Task04_Hippocampus \
        --peers .venv-peers/bin [--models hippocampus runs/Task04_Hippocampus/S-k3-w16/fold0] \
        [--features 16 32]

`mednext predict` with S k3 of 16 base channels (the bundled model, or others) and
`nnUNetv2_predict` 2.8.1 with its own network on its own plan, at 32 features as planned and at 16,
which has the widths of ours: 5.6 G multiply-adds a scan, against 1.7 G, on either side in 1.2 tiles
of 40 x 56 x 40. --features takes others: 9 has as many multiply-adds as ours. Neither mirrors; one
process reads and one writes on nnU-Net's side. Its weights are as drawn, since no time depends on
them. Seconds of the processor are summed over all processes, so that other work counts little;
those of the clock stand beside them.
"""

import argparse
import csv
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_DATASET, _FEATURES = "Dataset902_Hippocampus", (16, 32)


def main() -> None:
    """Let all take turns, and write the medians."""
    options = _options()
    contenders = {_name(model): _ours(options, model) for model in options.models}
    if len(contenders) < len(options.models):
        sys.exit("two models have the same name")
    first = next(iter(contenders))
    for features in options.features:
        contenders[f"nnunetv2, {features} features"] = _theirs(options, features)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, command in contenders.items():
            taken[name].append(_measure(command, options))
            print(name, *(f"{seconds:.1f} s" for seconds in taken[name][-1]), flush=True)
    rows = [_row(name, times, taken[first], options) for name, times in taken.items()]
    with options.csv.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a folder of small scans, ours and nnU-Net's")
    parser.add_argument("data", type=Path, help="Task04_Hippocampus as downloaded")
    parser.add_argument("--peers", type=Path, required=True, help="bin of the peers' environment")
    parser.add_argument("--out", type=Path, default=Path("predict_folder"))
    parser.add_argument("--csv", type=Path, default=RESULTS / "predict_folder.csv")
    parser.add_argument(
        "--models", nargs="+", default=["hippocampus"], help="the first is compared"
    )
    parser.add_argument("--features", type=int, nargs="+", default=_FEATURES, help="of nnU-Net")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _name(model: str) -> str:
    return f"mednext, {'/'.join(Path(model).parts[-4:])}"


def _ours(options: argparse.Namespace, model: str) -> list[str]:
    scans = options.out / "raw" / _DATASET / "imagesTr"
    if not scans.exists():
        scans.mkdir(parents=True)
        for path in sorted((options.data / "imagesTr").glob("[!.]*.nii.gz")):
            name = path.name.removesuffix(".nii.gz")
            shutil.copy(path, scans / f"{name}_0000.nii.gz")
            label = scans.parent / "labelsTr" / path.name
            label.parent.mkdir(exist_ok=True)
            shutil.copy(options.data / "labelsTr" / path.name, label)
    words = [
        "predict",
        scans,
        "--model",
        model,
        "--no-mirror",
        "--out",
        _predictions(options),
    ]
    return [sys.executable, "-m", "mednext_cli", *map(str, words), "--quiet"]


def _theirs(options: argparse.Namespace, features: int) -> list[str]:
    """Plan, and draw the weights, where that is not done."""
    model = options.out / f"model_{features}"
    if not (model / "plans.json").exists():
        maker = [options.peers / "python", Path(__file__).with_name("predict_folder_peer.py")]
        words = [*maker, options.out, features, model]
        subprocess.run([*map(str, words)], check=True, env=_environment(options))
    words = [
        *(options.peers / "nnUNetv2_predict_from_modelfolder", "-m", model, "-f", "0"),
        *("-i", options.out / "raw" / _DATASET / "imagesTr", "-o", _predictions(options)),
        *("--disable_tta", "-device", "cpu", "-npp", "1", "-nps", "1"),
    ]
    return [*map(str, words)]


def _predictions(options: argparse.Namespace) -> Path:
    made: Path = options.out / "predictions"
    return made


def _environment(options: argparse.Namespace) -> dict[str, str]:
    folders = {
        f"nnUNet_{name}": str(options.out / name) for name in ("raw", "preprocessed", "results")
    }
    return {**os.environ, **folders, "nnUNet_compile": "f"}


def _measure(command: list[str], options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the processor, and of the clock, to the last file."""
    shutil.rmtree(_predictions(options), ignore_errors=True)
    before, started = _children(), time.monotonic()
    subprocess.run(command, check=True, env=_environment(options), stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    scans = len(list((options.out / "raw" / _DATASET / "imagesTr").iterdir()))
    made = len(list(_predictions(options).glob("*.nii.gz")))
    if made != scans:
        sys.exit(f"{command[0]} made {made} of {scans} label maps")
    return _children() - before, seconds


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(
    name: str,
    times: list[tuple[float, float]],
    ours: list[tuple[float, float]],
    options: argparse.Namespace,
) -> dict[str, object]:
    processor, clock = (statistics.median(one) for one in zip(*times, strict=True))
    own, _ = (statistics.median(one) for one in zip(*ours, strict=True))
    return {
        "contender": name,
        "processor_seconds": round(processor, 1),
        "clock_seconds": round(clock, 1),
        "times_first": round(processor / own, 2),
        "rounds": len(times),
        "mednext": version("mednext"),
        "nnunetv2": "2.8.1",
        "torch": version("torch"),
        "machine": f"{platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'all')} thread",
        "command": f"python benchmarks/predict_folder.py --rounds {len(times)} "
        f"--models {' '.join(options.models)} --features {' '.join(map(str, options.features))}",
    }


if __name__ == "__main__":
    main()
