"""The peer's side of `preprocess.py`; runs in the peers' environment and prints JSON."""

import json
import sys
import time
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


def patches(folder: Path, count: int) -> dict[str, float]:
    """Random 128^3 patches of nnU-Net's blosc2 dataset, the second round."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    dataset = nnUNetDatasetBlosc2(str(folder))
    random, seconds = np.random.default_rng(0), 0.0
    for _ in range(2):
        start = time.perf_counter()
        for number in range(count):
            name = dataset.identifiers[number % len(dataset.identifiers)]
            data, label, *_rest = dataset.load_case(name)
            corner = [int(random.integers(max(1, n - 127))) for n in data.shape[1:]]
            region = (slice(None), *(slice(at, at + 128) for at in corner))
            np.asarray(data[region])
            np.asarray(label[region])
        seconds = time.perf_counter() - start
    return {"seconds": seconds}


if __name__ == "__main__":
    _, what, first, second = sys.argv
    result = (
        resample(Path(first), Path(second))
        if what == "resample"
        else patches(Path(first), int(second))
    )
    print(json.dumps(result))
