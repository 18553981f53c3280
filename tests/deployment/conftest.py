"""A small model and a small scan; processes that measure stay in this one."""

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.deployment import sheet
from mednext_cli.deployment.worker import measure
from tests.inference.synthetic import save_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "one.pt", 0)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).normal(100, 20, (24, 30, 12)).astype(np.int16)
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag([1.5, 1.5, 3.0, 1.0])), path)
    return path


@pytest.fixture
def measured_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Configurations are measured in this process; the list says which engines and threads."""
    done: list[str] = []

    def measure_here(task, on_tiles):
        done.append(f"{task.engine} {task.threads}")
        return measure(task, time.time(), lambda event: on_tiles(*event))

    monkeypatch.setattr(sheet, "measure_apart", measure_here)
    return done
