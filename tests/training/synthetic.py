"""A made-up dataset in nnU-Net's layout: boxes of two structures, and voxels to ignore."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from mednext_cli.app import main

NAME = "Dataset001_Boxes"
CASES = tuple(f"box_{number}" for number in range(4))
SHAPE = (20, 34, 22)
# A network of seconds.
TINY = (
    "model.mednext.base_channels=4",
    "training.epochs=2",
    "training.iterations_per_epoch=3",
    "training.validation_iterations=1",
    "training.patch_voxels=[16, 32, 16]",
    "training.folds=2",
    "inference.overlap=0.0",
    "inference.mirror=false",
)


def write_raw(folder: Path) -> Path:
    """Four cases: organ, lesion inside it, and a slab that is not annotated."""
    raw = folder / NAME
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    random = np.random.default_rng(3)
    for case in CASES:
        label = np.zeros(SHAPE, dtype=np.uint8)
        corner = random.integers(2, 6, 3)
        label[tuple(slice(c, c + n) for c, n in zip(corner, (12, 20, 12), strict=True))] = 1
        label[tuple(slice(c + 3, c + n) for c, n in zip(corner, (8, 12, 9), strict=True))] = 2
        image = random.normal(0, 0.5, SHAPE) + label * np.array(2.0)
        label[:, :, -4:] = 3
        nib.save(nib.Nifti1Image(label, np.eye(4)), raw / "labelsTr" / f"{case}.nii.gz")
        image_path = raw / "imagesTr" / f"{case}_0000.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), image_path)
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "organ": 1, "lesion": 2, "ignore": 3},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    return raw


def make_cache(folder: Path) -> Path:
    """The folder that holds the cache of `write_raw`."""
    raw = write_raw(folder / "raw")
    options = ["--dataset", "nnunet", "--cache", str(folder / "cache"), "--workers", "0"]
    assert main(["preprocess", str(raw), *options]) == 0
    return folder / "cache"


def arguments(cache: Path, runs: Path, *options: str, settings: tuple[str, ...] = ()) -> list[str]:
    """Of ``mednext train`` on it, with the tiny recipe."""
    changes = [part for setting in (*TINY, *settings) for part in ("--set", setting)]
    folders = ["--cache", str(cache), "--runs", str(runs)]
    return ["train", NAME, *folders, "--device", "cpu", "--recipe", "cpu", *changes, *options]


def run_folder(runs: Path, fold: str = "0", model: str = "S-k3-w4") -> Path:
    """Where such a run is."""
    return runs / NAME / model / f"fold{fold}"
