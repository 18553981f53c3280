import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

WriteScan = Callable[..., Path]


def write_scan(
    path: Path, array: np.ndarray | None = None, affine: np.ndarray | None = None
) -> Path:
    """A small NIfTI; without an array, noise of 4 x 5 x 6 voxels that depends on the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if array is None:
        seed = sum(path.name.encode())
        array = np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def write_label(path: Path, values: tuple[int, ...] = (1,)) -> Path:
    """A label map of 4 x 5 x 6 voxels that holds 0 and these values."""
    array = np.zeros((4, 5, 6), np.uint8)
    array.ravel()[: len(values)] = values
    return write_scan(path, array)


def write_description(folder: Path, **keys: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(keys), encoding="utf-8")


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    """Two labelled cases and a test case in MSD layout."""
    raw = tmp_path / "Task99_Small"
    for name in ("a", "b"):
        write_scan(raw / "imagesTr" / f"{name}.nii.gz")
        write_label(raw / "labelsTr" / f"{name}.nii.gz", (1, 2))
    write_scan(raw / "imagesTs" / "c.nii.gz")
    describe_msd(raw)
    return raw


def describe_msd(raw: Path, **changes: Any) -> None:
    """A dataset.json for the fixture `msd`, with some keys changed (None takes one out)."""
    keys: dict[str, Any] = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Left Part", "2": "Right Part"},
        "numTraining": 17,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in ("b", "a")
        ],
        "test": ["./imagesTs/c.nii.gz"],
        **changes,
    }
    write_description(raw, **{key: value for key, value in keys.items() if value is not None})
