"""Small raw datasets in MSD layout, made on the spot."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from mednext_cli.app import main

NAME = "Task90_Blobs"
AFFINE = np.diag([0.8, 0.9, 2.0, 1.0])


def blob(shape: tuple[int, int, int], centre: tuple[float, ...], radius: float) -> np.ndarray:
    """Voxels nearer than `radius` (in halves of the shape) to `centre` (0..1)."""
    axes = np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij")
    return sum(((axis - c) / 0.5) ** 2 for axis, c in zip(axes, centre, strict=True)) < radius**2


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def make_raw(
    folder: Path,
    cases: int = 3,
    modality: str = "MRI",
    size: tuple[int, int, int] = (22, 24, 12),
    affine: np.ndarray = AFFINE,
    order: tuple[int, int, int] = (0, 1, 2),
    **changes: Any,
) -> Path:
    """Noise with two labelled blobs, `cases` times; `changes` go to dataset.json.

    The files' axes are those of `size` in this `order`; `affine` is of the files.
    """
    raw = folder / NAME
    names = [f"case_{number}" for number in range(cases)]
    for number, name in enumerate(names):
        shape = (size[0] + number, *size[1:])
        label = np.zeros(shape, np.uint8)
        label[blob(shape, (0.3, 0.5, 0.5), 0.4)] = 1
        label[blob(shape, (0.7, 0.5, 0.5), 0.4)] = 2
        noise = np.random.default_rng(number).normal(100, 20, shape)
        image = (noise + 50 * label).astype(np.int16)
        write(image_of(raw, name), image.transpose(order), affine)
        write(label_of(raw, name), label.transpose(order), affine)
    description = {
        "modality": {"0": modality},
        "labels": {"0": "background", "1": "left", "2": "right"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
        "test": [],
        **changes,
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    return raw


def describe(raw: Path, **changes: Any) -> None:
    """Change keys of the dataset.json."""
    path = raw / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def image_of(raw: Path, name: str = "case_0") -> Path:
    return raw / "imagesTr" / f"{name}.nii.gz"


def label_of(raw: Path, name: str = "case_0") -> Path:
    return raw / "labelsTr" / f"{name}.nii.gz"


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def run(raw: Path, *options: str, workers: int = 0, layout: str = "msd") -> int:
    """`mednext preprocess` of a raw folder into the folder beside it."""
    arguments = ["--dataset", layout, "--cache", str(raw.parent / "cache")]
    return main(["preprocess", str(raw), *arguments, "--workers", str(workers), *options])


def cache_of(raw: Path) -> Path:
    return raw.parent / "cache" / NAME


def stored(raw: Path) -> list[str]:
    """Case files there are; what was half-written would count, too."""
    names = {path.name for path in cache_of(raw).rglob("*") if path.suffix != ".json"}
    return sorted(names - {"index.h5", "fingerprints", ".lock"})
