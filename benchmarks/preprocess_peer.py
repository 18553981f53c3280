"""The peer's side of `preprocess.py`; runs in the peers' environment and prints JSON."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def resample(scan: Path, made: Path) -> dict[str, float]:
    """nnU-Net's default resampling of image and label, and how ours differs from it."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    found, ours = np.load(scan), np.load(made)
    new, spacing, target = ours["image"].shape[1:], (3.0, 0.8, 0.8), (1.0, 1.0, 1.0)
    start = time.perf_counter()
    # None lets it decide by the spacing, as its plans do.
    image = resample_data_or_seg_to_shape(
        found["image"][None],
        new,
        spacing,
        target,
        is_seg=False,
        order=3,
        order_z=0,
        force_separate_z=None,
    )
    label = resample_data_or_seg_to_shape(
        found["label"][None],
        new,
        spacing,
        target,
        is_seg=True,
        order=1,
        order_z=0,
        force_separate_z=None,
    )
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "image": float(np.abs(image - ours["image"]).max() / np.ptp(image)),
        "label_voxels": int(np.sum(label != ours["label"])),
    }


def patches(folder: Path, cold: bool) -> dict[str, float]:
    """Random 128^3 patches of nnU-Net's blosc2 dataset."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    dataset = nnUNetDatasetBlosc2(str(folder))

    def read(name: str, random: np.random.Generator) -> None:
        data, label, *_rest = dataset.load_case(name)
        corner = [int(random.integers(max(1, n - 127))) for n in data.shape[1:]]
        region = (slice(None), *(slice(at, at + 128) for at in corner))
        np.asarray(data[region])
        np.asarray(label[region])

    files = {name: [*folder.glob(f"{name}*.b2nd")] for name in dataset.identifiers}
    return {"patches_per_second": patches_a_second(read, files, cold)}


def patches_a_second(
    read: Callable[[str, np.random.Generator], None], files: dict[str, list[Path]], cold: bool
) -> float:
    """Best of five rounds over all cases, each four times; `cold` drops its files from memory."""
    best = float("inf")
    for _ in range(5):
        random, seconds = np.random.default_rng(0), 0.0
        for name in [*files] * 4:
            if cold:
                _forget(files[name])
            start = time.perf_counter()
            read(name, random)
            seconds += time.perf_counter() - start
        best = min(best, seconds)
    return 4 * len(files) / best


def _forget(paths: list[Path]) -> None:
    """Drop files from the page cache."""
    for path in paths:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    _, what, first, second = sys.argv
    if what == "resample":
        result = resample(Path(first), Path(second))
    else:
        result = patches(Path(first), cold=what == "patches_cold")
    print(json.dumps(result))
