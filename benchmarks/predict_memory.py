"""Peak memory of a process that predicts a made-up CT, measured, beside what was estimated for it.

    env OMP_NUM_THREADS=1 python benchmarks/predict_memory.py
    env OMP_NUM_THREADS=1 python benchmarks/predict_memory.py --classes 3 --scans 3 --workers 1
    env OMP_NUM_THREADS=1 python benchmarks/predict_memory.py --classes 25 --probabilities

A process for each number of classes: Python, its libraries, an untrained narrow MedNeXt (its own
memory is not the point) and one case, or as many as are in flight: with one worker the first is
written and the third read while the second is predicted. A row of the table stays until the same
command is measured again.
"""

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

_CHANNELS = 4


def main() -> None:
    """Write a row for each number of classes."""
    parser = argparse.ArgumentParser(description="memory of a prediction, measured and estimated")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/predict_memory.csv"))
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 25, 105])
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 400], help="X Y Z")
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--spacing", type=float, default=1.0, help="of the scan, mm, prepared at 1")
    parser.add_argument("--scans", type=int, default=1, help="all alike")
    parser.add_argument("--workers", type=int, default=0, help="that read ahead, and as many write")
    parser.add_argument("--probabilities", action="store_true", help="keep these, too")
    parser.add_argument("--one", action="store_true", help="in this process, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options)))
        return
    rows = [_in_a_process(options, classes) for classes in options.classes]
    rows = [*_kept(options.out, {row["command"] for row in rows}), *rows]
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _kept(table: Path, commands: set[object]) -> list[Mapping[str, object]]:
    """The rows that other commands measured."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["command"] not in commands]


def _in_a_process(options: argparse.Namespace, classes: int) -> Mapping[str, object]:
    shape = list(map(str, options.shape))
    command = [sys.executable, __file__, "--one", "--classes", str(classes), "--shape", *shape]
    command += ["--patch", str(options.patch), "--spacing", str(options.spacing)]
    command += ["--scans", str(options.scans), "--workers", str(options.workers)]
    command += ["--probabilities"] * options.probabilities
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True
    )
    row: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


def _measure(options: argparse.Namespace) -> dict[str, object]:
    import nibabel as nib
    import numpy as np
    import psutil
    import torch

    from mednext_cli.app import main as mednext
    from mednext_cli.inference import workload
    from mednext_cli.inference.memory import CaseBytes, bytes_on

    estimated: list[int] = []

    def noted(*arguments: object) -> CaseBytes:
        """What the command itself estimates, and what the process has by then."""
        made = bytes_on(*arguments)  # type: ignore[arg-type]
        estimated.append(made.in_flight(options.workers) + psutil.Process().memory_info().rss)
        return made

    workload.bytes_on = noted  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as name:
        folder, classes = Path(name), options.classes[0]
        scan = np.random.default_rng(0).integers(-1000, 1000, options.shape[::-1], dtype=np.int16)
        affine = np.diag([*[options.spacing] * 3, 1.0])
        scans = folder / "scans"
        scans.mkdir()
        nib.save(nib.Nifti1Image(scan.T, affine), scans / "ct_0.nii")
        del scan
        for number in range(1, options.scans):
            (scans / f"ct_{number}.nii").hardlink_to(scans / "ct_0.nii")
        save_model(folder / "model.pt", classes, options.patch, _CHANNELS)
        started = time.process_time()
        words = ["predict", str(scans), "--model", str(folder / "model.pt")]
        words += ["--out", str(folder / "out"), "--device", "cpu", "--engine", "torch"]
        words += ["--probabilities"] * options.probabilities
        code = mednext([*words, "--workers", str(options.workers)])
    if code != 0:
        raise SystemExit(code)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "classes": classes,
        "shape": " x ".join(map(str, options.shape)),
        "spacing_mm": options.spacing,
        "patch_voxels": " x ".join([str(options.patch)] * 3),
        "overlap": 0.5,
        "scans": options.scans,
        "workers": options.workers,
        "probabilities": options.probabilities,
        "peak_gib": round(peak / 2**30, 3),
        "estimated_gib": round(estimated[0] / 2**30, 3),
        "estimated_over_peak": round(estimated[0] / peak, 3),
        "processor_seconds": round(time.process_time() - started),
        "base_channels": _CHANNELS,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()}, {platform.machine()}",
        "torch": str(torch.__version__),
        "mednext": version("mednext"),
        "command": "env OMP_NUM_THREADS=1 python benchmarks/predict_memory.py --shape "
        f"{' '.join(map(str, options.shape))} --classes {classes} --patch {options.patch} "
        f"--spacing {options.spacing} --scans {options.scans} --workers {options.workers}"
        + " --probabilities"
        * options.probabilities,
    }


def save_model(path: Path, classes: int, patch: int, channels: int) -> None:
    """An untrained S k3 of these channels, for a made-up CT at 1 mm."""
    import torch

    from mednext_cli.networks.building import build_plain
    from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
    from mednext_cli.networks.choice import choose_network
    from mednext_cli.settings.labels import LabelSet
    from mednext_cli.settings.plan import ChannelNormalisation, Plan
    from mednext_cli.settings.recipe import ModelSettings, Recipe

    names = {f"organ_{value}": value for value in range(1, classes)}
    plan = Plan(
        dataset="made_up",
        layout="folder",
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(patch, patch, patch),
        batch_size=1,
        channels=("CT",),
        normalisation=(
            ChannelNormalisation(scheme="ct", lower=-900.0, upper=900.0, mean=0.0, std=500.0),
        ),
        label_set=LabelSet(names, {name: (value,) for name, value in names.items()}),
    )
    settings = {"network": "mednext", "mednext": {"size": "S", "base_channels": channels}}
    chosen = choose_network(ModelSettings.model_validate(settings))
    torch.manual_seed(0)
    spec = chosen.planned(plan.patch_voxels).spec(1, classes)
    recipe = Recipe.model_validate({"inference": {"mirror": False, "overlap": 0.5}})
    weights = build_plain(spec).state_dict()
    save_checkpoint(path, Checkpoint(spec, weights, plan=plan, recipe=recipe))


if __name__ == "__main__":
    main()
