"""Final validation of cases with odd headers: its label maps lie on the scans, and are scored."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.volumes.scans import read_grid
from tests.training.conftest import TINY
from tests.volumes.headers import OBLIQUE, affine_of, itk_grid, write_header

pytestmark = pytest.mark.slow
SHAPE = (36, 30, 20)
AFFINE = affine_of((0, 1, 2), (-1, -1, 1), OBLIQUE)
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[6:25, 6:22, 4:16] = 1
BAD = {"quatern_b": 0.9, "quatern_c": 0.9}
FORMS: dict[str, dict[str, Any]] = {
    "sform only": {"sform": (AFFINE, 2)},
    "neither form": {},
    "no rotation": {"sform": (AFFINE, 2), "qform": (AFFINE, 1), "fields": BAD},
    "label elsewhere": {"sform": (AFFINE, 2)},
}


def make(raw: Path) -> Path:
    for number, (name, forms) in enumerate(FORMS.items()):
        noise = np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.int16)
        write_header(raw / "images" / f"{name}.nii.gz", **forms, voxels=noise)
        if name == "label elsewhere":
            affine = AFFINE @ np.diag([2.0, 1, 1, 1])
            forms, label = {"sform": (affine, 2), "fields": {"pixdim": (1.4, 0.8, 1.3)}}, LABEL[::2]
        else:
            label = LABEL
        write_header(raw / "labels" / f"{name}.nii.gz", **forms, voxels=label)
    return raw


@pytest.mark.parametrize("fold", [0, 1])
def test_validation_lies_on_the_scans(tmp_path: Path, fold: int) -> None:
    pytest.importorskip("SimpleITK")
    raw, runs = make(tmp_path / "raw"), tmp_path / "runs"
    cache = ["--cache", str(tmp_path / "cache")]
    call = ["preprocess", str(raw), "--dataset", "folder", "--workers", "0", "--spacing", "median"]
    assert main([*call, *cache, "--resample-labels"]) == 0
    settings = [part for setting in TINY for part in ("--set", setting)]
    train = ["train", "raw", *cache, "--runs", str(runs), "--device", "cpu", "--recipe", "cpu"]
    assert main([*train, *settings, "--fold", str(fold)]) == 0
    (folder,) = runs.glob(f"*/*/fold{fold}/validation")
    made = sorted(folder.glob("*.nii.gz"))
    assert len(made) == 2
    for path in made:
        scan = raw / "images" / path.name
        expected, found = itk_grid(scan), itk_grid(path)
        assert expected is not None
        assert found is not None
        assert np.allclose(found, expected, atol=1e-4)
        assert read_grid(path).same_as(read_grid(scan), 1e-3)
    with (folder / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    resampled = {row["case"]: row["resampled"] for row in rows}
    assert all(value == str(int(case == "label elsewhere")) for case, value in resampled.items())
