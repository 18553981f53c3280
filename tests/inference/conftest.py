"""A model, and scans on awkward grids."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.inference.synthetic import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "one.pt", 0)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three scans on awkward grids: oblique, flipped with swapped axes, anisotropic."""
    folder = tmp_path / "scans"
    folder.mkdir()
    random = np.random.default_rng(0)
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affines = {
        "oblique": turn @ np.diag([1.5, 1.5, 3.0]),
        "swapped": np.array([[0, 0, -2.0], [0, -1.5, 0], [-2.5, 0, 0]]),
        "anisotropic": np.diag([1.0, 1.0, 8.0]),
    }
    for name, linear in affines.items():
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = linear, (10, -20, 30)
        voxels = random.normal(100, 20, size=(20, 26, 15)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")
    return folder
