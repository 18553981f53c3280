"""Label maps to score: small boxes on anisotropic, oblique grids."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

AFFINE = np.array([[0.0, 0.5, 0.0, 3.0], [-2.0, 0.0, 0.0, 5.0], [0.0, 0.0, 1.5, 0.0], [0, 0, 0, 1]])
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def write_labels() -> Write:
    """Write an array as a label map of 2 x 0.5 x 1.5 mm voxels."""

    def write(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    return write


def boxes(first: int = 4, second: int = 3, shift: int = 0) -> NDArray[np.uint8]:
    """Label 1 and label 2 as boxes `first` and `second` voxels wide, in 12 x 14 x 10 voxels."""
    array = np.zeros((12, 14, 10), np.uint8)
    array[1 + shift : 1 + shift + first, 2:8, 3:7] = 1
    array[1 + shift : 1 + shift + second, 9:12, 3:7] = 2
    return array


@pytest.fixture
def folders(tmp_path: Path, write_labels: Write) -> tuple[Path, Path]:
    """Three predictions, each shifted by one voxel (2 mm) against its reference."""
    for index in range(3):
        name = f"case_{index}.nii.gz"
        write_labels(tmp_path / "labels" / name, boxes(first=4 + index))
        write_labels(tmp_path / "predictions" / name, boxes(first=4 + index, shift=1))
    return tmp_path / "predictions", tmp_path / "labels"
