"""Preprocessing, ours and nnU-Net's, in one run: `make peers`, then

python benchmarks/preprocess.py --hippocampus Task04_Hippocampus

Rows: resampling alone; phantom CTs, fingerprint to finished cache; the hippocampus cases; peak
memory of a worker; disk; random patches a second. --cases and --shape make it smaller.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from preprocess_peer import patches_a_second

HERE = Path(__file__).parent
HEADER = (
    "work", "ours", "nnunetv2", "unit", "ratio", "cases", "shape", "workers",
    "mednext", "nnunetv2_version", "machine", "load_before",
)  # fmt: skip


def main() -> None:
    """Measure all rows and write them."""
    parser = argparse.ArgumentParser(description="preprocessing, ours and nnU-Net's")
    parser.add_argument("--hippocampus", type=Path, help="Task04_Hippocampus; without, left out")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "preprocess.csv")
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".venv-peers" / "bin")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--shape", default="100,512,512", help="slices,rows,columns")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    shape = tuple(int(part) for part in options.shape.split(","))
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows.append(_resampling(shape, folder, options))
        rows += _phantoms(shape, folder / "phantoms", options)
        if options.hippocampus:
            rows += _hippocampus(options.hippocampus, folder / "hippocampus", options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as stream:
        table = csv.DictWriter(stream, HEADER, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _row(work: str, ours: float, theirs: float, unit: str, **more: object) -> dict[str, object]:
    row = {
        "work": work, "ours": round(ours, 3), "nnunetv2": round(theirs, 3), "unit": unit,
        "ratio": round(theirs / ours, 3), "mednext": version("mednext"),
        "nnunetv2_version": "2.8.1",
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "load_before": round(os.getloadavg()[0], 2), **more,
    }  # fmt: skip
    print(json.dumps(row), flush=True)
    return row


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _peer(options: argparse.Namespace, *words: object) -> dict[str, float]:
    """What `preprocess_peer.py` measured, in the peers' environment."""
    command = [options.peers / "python", HERE / "preprocess_peer.py", *words]
    done = subprocess.run(
        [str(word) for word in command], env=_one_thread(), check=True, stdout=subprocess.PIPE
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _resampling(
    shape: tuple[int, ...], folder: Path, options: argparse.Namespace
) -> dict[str, object]:
    """A smoothed scan with a 3-class label, one core each."""
    from scipy.ndimage import gaussian_filter

    from mednext_cli.volumes.resample import resample_image, resample_labels, resampled_shape

    noise = np.random.default_rng(0).normal(0, 500, shape).astype(np.float32)
    image = gaussian_filter(noise, 1)
    z, y, x = np.ogrid[tuple(slice(-1, 1, length * 1j) for length in shape)]
    label = ((z**2 + y**2 + (x - 0.3) ** 2) < 0.1).astype(np.uint8)
    label[(z**2 + y**2 + (x - 0.3) ** 2) < 0.01] = 2
    np.savez(folder / "scan.npz", image=image, label=label)
    spacing = ((3.0, 0.8, 0.8), (1.0, 1.0, 1.0))
    new = resampled_shape(shape, *spacing)
    start = time.perf_counter()
    made = resample_image(image[None], new, *spacing)
    made_label = resample_labels(label, new, *spacing)
    ours = time.perf_counter() - start
    np.savez(folder / "made.npz", image=made, label=made_label[None])
    theirs = _peer(options, "resample", folder / "scan.npz", folder / "made.npz")
    print(f"difference: {theirs}", flush=True)
    size = "x".join(map(str, shape))
    return _row("resampling alone", ours, theirs["seconds"], "s", cases=1, shape=size, workers=1)


def _phantoms(
    shape: tuple[int, ...], folder: Path, options: argparse.Namespace
) -> list[dict[str, object]]:
    size = ",".join(map(str, shape))
    words = ["phantom", str(folder / "raw"), "--cases", str(options.cases), "--shape", size]
    _mednext(*words)
    images = sorted((folder / "raw").glob("*/imaging.nii.gz"))
    pairs = [(path, path.with_name("segmentation.nii.gz")) for path in images]
    labels = {"background": 0, "kidney": 1, "tumour": 2}
    _as_nnunet(pairs, folder / "nnunet", labels, "CT")
    named = {"cases": options.cases, "shape": size.replace(",", "x")}
    rows = _compare("phantom CTs", folder / "raw", "kits19", folder, options, named)
    return [*rows, *_patches(folder, options, named)]


def _hippocampus(raw: Path, folder: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    pairs = [(path, raw / "labelsTr" / path.name) for path in sorted(raw.glob("imagesTr/[!.]*"))]
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    _as_nnunet(pairs, folder / "nnunet", labels, "MRI")
    return _compare("hippocampus", raw, "msd", folder, options, {"cases": len(pairs)})


def _compare(
    what: str,
    raw: Path,
    layout: str,
    folder: Path,
    options: argparse.Namespace,
    named: dict[str, object],
) -> list[dict[str, object]]:
    """Time, a worker's peak memory (its interpreter included) and disk, both sides."""
    workers = str(options.workers)
    load = round(os.getloadavg()[0], 2)
    words = ["preprocess", str(raw), "--dataset", layout, "--cache", str(folder / "cache")]
    ours = _watched([sys.executable, "-m", "mednext_cli", *words, "--workers", workers], {})
    tool = str(options.peers / "nnUNetv2_plan_and_preprocess")
    numbers = ["-d", "901", "-npfp", workers, "-np", workers, "-c", "3d_fullres"]
    spacing = ["-overwrite_target_spacing", "1", "1", "1"]
    theirs = _watched([tool, *numbers, *spacing], _nnunet_folders(folder / "nnunet"))
    made = folder / "nnunet" / "preprocessed" / "Dataset901_Benchmark"
    sizes = [_size(folder / "cache"), _size(made)]
    more = {**named, "workers": options.workers, "load_before": load}
    return [
        _row(f"{what}: whole preprocessing", ours[0], theirs[0], "s", **more),
        _row(f"{what}: peak of a process", ours[1] / 2**20, theirs[1] / 2**20, "MiB", **more),
        _row(f"{what}: disk", sizes[0] / 2**20, sizes[1] / 2**20, "MiB", **more),
    ]


def _patches(
    folder: Path, options: argparse.Namespace, named: dict[str, object]
) -> list[dict[str, object]]:
    """Random patches of 128^3 (or what fits), from the page cache and from the disk."""
    from mednext_cli.cache.reader import open_cache

    torch.set_num_threads(1)
    cached = open_cache(folder / "cache" / "kits19")
    made = folder / "nnunet" / "preprocessed" / "Dataset901_Benchmark" / "nnUNetPlans_3d_fullres"

    def read(name: str, random: np.random.Generator) -> None:
        case = cached.case(name)
        corner = [int(random.integers(max(1, n - 127))) for n in case.image_shape[1:]]
        region = tuple(slice(at, at + 128) for at in corner)
        case.read_image(region)
        case.read_label(region)

    rows = []
    for what in ("warm", "cold"):
        files = {name: [cached.case(name).path] for name in cached.case_ids}
        ours = patches_a_second(read, files, what == "cold")
        theirs = _peer(options, f"patches_{what}", made, "-")["patches_per_second"]
        more = {**named, "ratio": round(ours / theirs, 3)}
        rows.append(_row(f"random patches, {what}", ours, theirs, "patches/s", **more))
    return rows


# Runs a command and says how large the largest of its processes was. In a process of its own: a
# child counts what its parent held when it was started.
_WATCH = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def _watched(command: list[str], more: dict[str, str]) -> tuple[float, int]:
    """Seconds, and the largest resident memory of any of its processes, bytes."""
    start = time.perf_counter()
    watched = [sys.executable, "-S", "-c", _WATCH, *command]
    done = subprocess.run(
        watched, env={**_one_thread(), **more}, stdout=subprocess.PIPE, check=True
    )
    return time.perf_counter() - start, int(done.stdout)


def _mednext(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "mednext_cli", *words], check=True)


def _nnunet_folders(folder: Path) -> dict[str, str]:
    names = ("raw", "preprocessed", "results")
    return {f"nnUNet_{name}": str(folder / name) for name in names}


def _as_nnunet(
    pairs: list[tuple[Path, Path]], folder: Path, labels: dict[str, int], channel: str
) -> None:
    made = folder / "raw" / "Dataset901_Benchmark"
    for name in ("imagesTr", "labelsTr"):
        (made / name).mkdir(parents=True)
    for number, (image, label) in enumerate(pairs):
        shutil.copy(image, made / "imagesTr" / f"case_{number:04d}_0000.nii.gz")
        shutil.copy(label, made / "labelsTr" / f"case_{number:04d}.nii.gz")
    description = {
        "channel_names": {"0": channel}, "labels": labels,
        "numTraining": len(pairs), "file_ending": ".nii.gz",
    }  # fmt: skip
    (made / "dataset.json").write_text(json.dumps(description))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
