"""Augmented patches a second, ours and nnU-Net's loader with the same transforms, in one run.

python benchmarks/data_supply.py --peers .venv-peers/bin

Made-up scans of two channels are prepared by `mednext preprocess`; nnU-Net's loader is given the
same voxels in its own format. Both draw patches of 128^3 on one core, turn by turn, in seconds of
the processor.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

HERE = Path(__file__).parent
NAME = "Dataset903_Supply"
CHANNELS, CASES, HALF_SHAPE = 2, 2, (120, 130, 130)
HEADER = (
    "labels", "supplier", "patches", "seconds", "patches_per_second", "ratio", "patch", "channels",
    "mednext", "nnunetv2", "torch", "machine", "command",
)  # fmt: skip


def main() -> None:
    """Measure every number of labels and write the table after each."""
    parser = argparse.ArgumentParser(description="augmented patches a second")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "data_supply.csv")
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".venv-peers" / "bin")
    parser.add_argument("--labels", default="2,3,16,105", help="with background")
    parser.add_argument("--peer-labels", default="3,16", help="where nnU-Net is measured, too")
    parser.add_argument("--batches", type=int, default=25, help="of two patches, a round")
    parser.add_argument("--peer-batches", type=int, default=13, help="of nnU-Net")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for labels in map(int, options.labels.split(",")):
        with tempfile.TemporaryDirectory() as scratch:
            prepare(Path(scratch), labels)
            rows += _compare(Path(scratch), labels, options)
        _write(rows, options.out)


def prepare(folder: Path, labels: int) -> None:
    """A cache, and beside it the cached voxels for the peer."""
    from mednext_cli.cache.reader import open_cache

    raw = _write_raw(folder, labels)
    command = [sys.executable, "-m", "mednext_cli", "preprocess", raw, "--dataset", "nnunet"]
    subprocess.run(
        [*command, "--cache", folder / "cache", "--workers", "0"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    cached = open_cache(folder / "cache" / NAME)
    (folder / "voxels").mkdir()
    for case_id in cached.case_ids:
        case = cached.case(case_id)
        image, label = case.read_image(), case.read_label()
        np.savez(folder / "voxels" / f"{case_id}.npz", image=image, label=label)


def _write_raw(folder: Path, labels: int) -> Path:
    raw = folder / NAME
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for number in range(CASES):
        random = np.random.default_rng(number)
        label = _structures(random, labels)
        nib.save(nib.Nifti1Image(label, np.eye(4)), raw / "labelsTr" / f"case_{number}.nii")
        for channel in range(CHANNELS):
            image = random.normal(0, 0.3, label.shape).astype(np.float32) + np.sqrt(label) + 1
            path = raw / "imagesTr" / f"case_{number}_{channel:04}.nii"
            nib.save(nib.Nifti1Image(image, np.eye(4)), path)
    described = {
        "channel_names": {str(channel): "MRI" for channel in range(CHANNELS)},
        "labels": {"background": 0} | {f"label_{value}": value for value in range(1, labels)},
        "numTraining": CASES,
        "file_ending": ".nii",
    }
    (raw / "dataset.json").write_text(json.dumps(described))
    return raw


def _structures(random: np.random.Generator, labels: int) -> NDArray[np.uint8]:
    """A body that is filled by structures, each the voxels nearest to a point of it."""
    places = np.stack(np.indices(HALF_SHAPE), axis=-1).reshape(-1, 3)
    within = np.linalg.norm(places / np.array(HALF_SHAPE) - 0.5, axis=1) < 0.45
    points = random.uniform(0.1, 0.9, (labels - 1, 3)) * HALF_SHAPE
    label = np.zeros(len(places), dtype=np.uint8)
    label[within] = KDTree(points).query(places[within])[1] + 1
    whole = label.reshape(HALF_SHAPE)
    for axis in range(3):
        whole = whole.repeat(2, axis)
    return whole


def _compare(folder: Path, labels: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """Turn by turn, so that both have the machine at the same hours."""
    batches = {"mednext": options.batches}
    if labels in map(int, options.peer_labels.split(",")):
        batches["nnunetv2"] = options.peer_batches
    patches, seconds = dict.fromkeys(batches, 0), dict.fromkeys(batches, 0.0)
    for turn in range(options.rounds):
        for supplier, count in batches.items():
            made = _supply(supplier, folder, count, turn, options)
            patches[supplier] += int(made["patches"])
            seconds[supplier] += made["seconds"]
    pace = {supplier: patches[supplier] / seconds[supplier] for supplier in batches}
    rows = []
    for supplier in batches:
        row: dict[str, object] = {
            "labels": labels, "supplier": supplier, "patches": patches[supplier],
            "seconds": round(seconds[supplier], 2), "patches_per_second": round(pace[supplier], 3),
            "ratio": round(pace["mednext"] / pace[supplier], 2),
        }  # fmt: skip
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def _supply(
    supplier: str, folder: Path, batches: int, turn: int, options: argparse.Namespace
) -> dict[str, float]:
    ours = [sys.executable, HERE / "data_supply_ours.py"]
    theirs = [options.peers / "python", HERE / "data_supply_peer.py"]
    words = [*(ours if supplier == "mednext" else theirs), folder, batches, turn]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(word) for word in words], env=alone, check=True, stdout=subprocess.PIPE
    )
    made: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return made


def _write(rows: list[dict[str, object]], path: Path) -> None:
    common = {
        "patch": "128x128x128", "channels": CHANNELS, "mednext": version("mednext"),
        "nnunetv2": "2.8.1", "torch": version("torch"),
        "machine": f"{platform.machine()}, one core", "command": "python benchmarks/data_supply.py",
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, HEADER, lineterminator="\n")
        table.writeheader()
        table.writerows([{**row, **common} for row in rows])


if __name__ == "__main__":
    main()
