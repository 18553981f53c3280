"""Of many classes: how long the network takes of a prediction, and how long everything else.

    OMP_NUM_THREADS=1 python benchmarks/predict_classes.py

A made-up CT of 0.8 mm, prepared at 1 mm, through `mednext predict` with an untrained S k3 of few
channels, patch 64^3, overlap 0.5, no mirroring. Seconds are those of the processor in a process of
its own, after Python and its libraries have started.
"""

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

_PATCH, _SPACING = 64, 0.8


def main() -> None:
    """Write a row for each number of classes."""
    parser = argparse.ArgumentParser(description="the network's share of a prediction")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/predict_classes.csv"))
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 25, 105])
    parser.add_argument("--edge", type=int, default=200, help="voxels of the CT along each axis")
    parser.add_argument("--channels", type=int, default=16, help="of the network's first stage")
    parser.add_argument("--one", type=Path, help="in this process, in that folder")
    options = parser.parse_args()
    if options.one is not None:
        _predict(options.one)
        return
    rows = [_measure(options, classes) for classes in options.classes]
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _measure(options: argparse.Namespace, classes: int) -> dict[str, object]:
    import nibabel as nib
    from predict_memory import save_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voxels = np.random.default_rng(0).integers(-1000, 1000, [options.edge] * 3, dtype=np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([*[_SPACING] * 3, 1.0])), folder / "ct.nii")
        save_model(folder / "model.pt", classes, _PATCH, options.channels)
        command = [sys.executable, __file__, "--one", str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    network, whole = map(float, done.stdout.split()[-2:])
    row = {
        "classes": classes,
        "base_channels": options.channels,
        "voxels": options.edge**3,
        "network_seconds": round(network, 1),
        "else_seconds": round(whole - network, 1),
        "else_over_network": round(whole / network - 1, 2),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "mednext": version("mednext"),
        "torch": version("torch"),
        "machine": platform.machine(),
        "command": "python benchmarks/predict_classes.py",
    }
    print(row, flush=True)
    return row


def _predict(folder: Path) -> None:
    """Print the seconds in the network, and of the whole call."""
    from mednext_cli.app import main as mednext
    from mednext_cli.inference.torch_engine import NetworkEngine

    real, taken = NetworkEngine.__call__, 0.0

    def timed(engine: NetworkEngine, images: object) -> object:
        nonlocal taken
        started = time.process_time()
        made = real(engine, images)  # type: ignore[arg-type]
        taken += time.process_time() - started
        return made

    NetworkEngine.__call__ = timed  # type: ignore[assignment,method-assign]
    words = ["predict", str(folder / "ct.nii"), "--model", str(folder / "model.pt"), "--quiet"]
    words += ["--out", str(folder / "out"), "--device", "cpu", "--engine", "torch"]
    started = time.process_time()
    if code := mednext(words):
        sys.exit(code)
    print(taken, time.process_time() - started)


if __name__ == "__main__":
    main()
