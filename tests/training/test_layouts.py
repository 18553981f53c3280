"""From raw folder to scored cases, for layouts whose images or labels are no single files."""

import csv
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.volumes.scans import read_grid, read_label_map
from tests.datasets.conftest import write_scan, write_series
from tests.training.conftest import TINY

pytestmark = pytest.mark.slow
SHAPE = (20, 36, 18)
LOWER, UPPER = (slice(3, 9), slice(6, 20)), (slice(10, 16), slice(6, 20))


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.int16)


def box(where: tuple[slice, slice], value: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[where] = value
    return array


def totalsegmentator(raw: Path) -> None:
    for number in range(2):
        subject = raw / f"s{number:04d}"
        write_scan(subject / "ct.nii.gz", noise(number))
        write_scan(subject / "segmentations" / "liver.nii.gz", box(LOWER))
        write_scan(subject / "segmentations" / "spleen.nii.gz", box(UPPER))


def dicom(raw: Path) -> None:
    """Series with labels that are stored flipped."""
    pytest.importorskip("pydicom")
    for number in range(2):
        folder = write_series(raw / "images" / f"p{number}", noise(number), (1.0, 1.0, 1.0))
        grid = read_grid(folder)
        flip = np.diag([1.0, -1, 1, 1])
        flip[1, 3] = grid.shape[1] - 1
        label = (box(LOWER) + box(UPPER, 2)).transpose(1, 0, 2)[:, ::-1]
        write_scan(raw / "labels" / f"p{number}.nii.gz", label, grid.affine @ flip)


def brats21(raw: Path) -> None:
    for number in range(2):
        name = f"BraTS2021_{number:05d}"
        for index, sequence in enumerate(("t1", "t1ce", "t2", "flair")):
            write_scan(raw / name / f"{name}_{sequence}.nii.gz", noise(10 * number + index))
        write_scan(raw / name / f"{name}_seg.nii.gz", box(LOWER, 2) + box(UPPER, 4))


CHAINS = {
    "totalsegmentator": (totalsegmentator, "totalsegmentator", (), {"liver", "spleen"}),
    "dicom": (dicom, "folder", ("--modality", "ct"), {"label_1", "label_2"}),
    "brats21": (
        brats21,
        "brats21",
        ("--region-training",),
        {"whole_tumour", "tumour_core", "enhancing_tumour"},
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_raw_folder_to_scored_cases(tmp_path: Path, chain: str) -> None:
    make, layout, options, regions = CHAINS[chain]
    raw, runs = tmp_path / chain, tmp_path / "runs"
    make(raw)
    cache = ["--cache", str(tmp_path / "cache")]
    call = ["preprocess", str(raw), "--dataset", layout, "--workers", "0", *cache, *options]
    assert main(call) == 0
    settings = [part for setting in TINY for part in ("--set", setting)]
    (name,) = [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    train = ["train", name, *cache, "--runs", str(runs), "--device", "cpu", "--recipe", "cpu"]
    assert main([*train, *settings]) == 0
    (run,) = runs.glob("*/*/fold0")
    with (run / "validation" / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["region"] for row in rows} == regions
    assert all(row["status"] == "ok" for row in rows)
    out = tmp_path / "out"
    predict = ["predict", str(raw), "--dataset", layout, "--model", str(run), "--out", str(out)]
    assert main([*predict, "--device", "cpu"]) == 0
    made = sorted(out.glob("*.nii.gz"))
    assert len(made) == 2
    allowed = {0, 1, 2, 4} if chain == "brats21" else {0, 1, 2}
    assert all(set(np.unique(read_label_map(path).array)) <= allowed for path in made)
