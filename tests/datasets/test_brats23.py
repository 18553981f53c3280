from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import write_scan

Captured = pytest.CaptureFixture[str]
SEQUENCES = ("t1n", "t1c", "t2w", "t2f")


def make_case(raw: Path, name: str, values: tuple[int, ...] = (1, 2, 3)) -> None:
    for number, sequence in enumerate(SEQUENCES):
        noise = np.random.default_rng(number).normal(5, 1, (16, 17, 18))
        write_scan(raw / name / f"{name}-{sequence}.nii.gz", noise.astype(np.float32))
    label = np.zeros((16, 17, 18), np.uint8)
    for index, value in enumerate(values):
        label[2 + index * 3 : 5 + index * 3, 2:14, 2:14] = value
    if values:
        write_scan(raw / name / f"{name}-seg.nii.gz", label)


@pytest.fixture
def brats23(tmp_path: Path) -> Path:
    raw = tmp_path / "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData"
    make_case(raw, "BraTS-GLI-00000-000")
    make_case(raw, "BraTS-MEN-00002-001")
    make_case(raw, "BraTS-GLI-00003-000", ())
    return raw


def test_cases(brats23: Path) -> None:
    dataset = read_dataset(brats23, "brats23")
    assert dataset.channels == ("T1N", "T1C", "T2W", "T2F")
    assert [channel.path.name for channel in dataset.cases[0].channels] == [
        f"BraTS-GLI-00000-000-{sequence}.nii.gz" for sequence in SEQUENCES
    ]
    assert [case.id for case in dataset.labelled] == ["BraTS-GLI-00000-000", "BraTS-MEN-00002-001"]
    assert dataset.labels.regions == {
        "whole_tumour": (1, 2, 3),
        "tumour_core": (1, 3),
        "enhancing_tumour": (3,),
    }


def test_regions_are_trained_and_written_back(brats23: Path, tmp_path: Path) -> None:
    call = [str(brats23), "--dataset", "brats23", "--region-training", "--workers", "0"]
    assert main(["preprocess", *call, "--cache", str(tmp_path / "cache")]) == 0
    plan = open_cache(tmp_path / "cache" / "brats23").plan
    assert plan.label_set.region_training
    assert plan.label_set.region_values == (2, 1, 3)


def test_the_resection_cavity_of_2024(tmp_path: Path, capsys: Captured) -> None:
    raw = tmp_path / "raw"
    make_case(raw, "BraTS-GLI-02063-100", (1, 2, 3, 4))
    call = ["datasets", "verify", str(raw), "--workers", "0", "--dataset"]
    assert main([*call, "brats23"]) == 2
    assert "resection cavity: give --dataset brats24" in capsys.readouterr().out
    assert main([*call, "brats24"]) == 0
    labels = read_dataset(raw, "brats24").labels
    assert labels.names["resection_cavity"] == 4
    assert labels.regions["whole_tumour"] == (1, 2, 3)
    assert labels.regions["resection_cavity"] == (4,)


def test_2021_names_the_newer_layout_and_the_other_way_round(
    brats23: Path, tmp_path: Path, capsys: Captured
) -> None:
    with pytest.raises(DatasetError, match=r"BraTS2021_00000.*--dataset brats23"):
        read_dataset(brats23, "brats21")
    with pytest.raises(DatasetError, match=r"Data looks like --dataset brats23.*: give that"):
        read_dataset(brats23.parent, "brats21")
    raw = tmp_path / "old"
    for sequence in ("t1", "t1ce", "t2", "flair"):
        write_scan(raw / "BraTS2021_00000" / f"BraTS2021_00000_{sequence}.nii.gz")
    with pytest.raises(DatasetError, match="--dataset brats21"):
        read_dataset(raw, "brats23")
    label = np.zeros((4, 5, 6), np.uint8)
    label[0, 0, :4] = (1, 2, 3, 0)
    write_scan(raw / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz", label)
    call = ["datasets", "verify", str(raw), "--dataset", "brats21", "--workers", "0"]
    assert main(call) == 2
    assert "give --dataset brats23" in capsys.readouterr().out
