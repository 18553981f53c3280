from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.restore import restore_label_map
from tests.datasets.conftest import write_scan

SEQUENCES = ("flair", "t1", "t1ce", "t2")


def make_case(raw: Path, number: int, labelled: bool = True) -> None:
    name = f"BraTS2021_{number:05d}"
    for sequence in SEQUENCES:
        noise = np.random.default_rng(sum(sequence.encode()) + number).normal(5, 1, (16, 17, 18))
        write_scan(raw / name / f"{name}_{sequence}.nii.gz", noise.astype(np.float32))
    label = np.zeros((16, 17, 18), np.uint8)
    label[2:14, 2:14, 2:14] = 2
    label[4:12, 4:12, 4:12] = 1
    label[6:10, 6:10, 6:10] = 4
    if labelled:
        write_scan(raw / name / f"{name}_seg.nii.gz", label)


@pytest.fixture
def brats21(tmp_path: Path) -> Path:
    raw = tmp_path / "training"
    make_case(raw, 0)
    make_case(raw, 2)
    make_case(raw, 3, labelled=False)
    return raw


def test_cases(brats21: Path) -> None:
    dataset = read_dataset(brats21, "brats21")
    assert dataset.channels == ("T1", "T1CE", "T2", "FLAIR")
    names = [channel.path.name for channel in dataset.cases[0].channels]
    assert names[0] == "BraTS2021_00000_t1.nii.gz"
    assert names[3] == "BraTS2021_00000_flair.nii.gz"
    assert [case.id for case in dataset.labelled] == ["BraTS2021_00000", "BraTS2021_00002"]
    assert dataset.labels.values == (0, 1, 2, 4)
    assert not dataset.labels.region_training
    assert dataset.labels.regions == {
        "whole_tumour": (1, 2, 4),
        "tumour_core": (1, 4),
        "enhancing_tumour": (4,),
    }


@pytest.mark.parametrize("regions", [False, True])
def test_label_4_is_trained_as_class_3_and_written_back_as_4(
    brats21: Path, tmp_path: Path, regions: bool
) -> None:
    """Perfect scores, of the labels or of the nested regions, give the label map of the file."""
    option = "--region-training" if regions else "--label-training"
    arguments = [str(brats21), "--dataset", "brats21", option, "--workers", "0"]
    assert main(["preprocess", *arguments, "--cache", str(tmp_path / "cache")]) == 0
    cached = open_cache(tmp_path / "cache" / "brats21")
    plan = cached.plan
    assert plan.label_set.region_training is regions
    assert plan.output_channels == (3 if regions else 4)
    case = cached.case("BraTS2021_00000")
    classes = case.read_label()
    assert set(np.unique(classes)) == {0, 1, 2, 3}
    if regions:
        values = np.array(plan.class_values)[classes]
        scores = np.stack([np.isin(values, region) for region in plan.label_set.regions.values()])
    else:
        scores = np.stack([classes == index for index in range(4)])
    geometry = SourceGeometry.model_validate(case.geometry)
    restored = restore_label_map(scores.astype(np.float32), geometry, plan)
    original = np.asarray(nibabel.load(case.label_path or "").dataobj)
    assert np.array_equal(restored, original)


def test_missing_sequence_is_that_case_s_fault(brats21: Path, tmp_path: Path) -> None:
    (brats21 / "BraTS2021_00002" / "BraTS2021_00002_t2.nii.gz").unlink()
    case = read_dataset(brats21, "brats21").cases[1]
    assert len(case.channels) == 4
    assert main(["datasets", "verify", str(brats21), "--dataset", "brats21", "-q"]) == 2


def test_other_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no BraTS2021_00000"):
        read_dataset(tmp_path, "brats21")


@pytest.mark.slow
def test_real_glioma_arranged_as_the_archive(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels of 2013, stored as float32: label 3 is none of BraTS21, and verify says so."""
    folder = data_folder / "brats2015_deepmedic" / "brats_2013_pat0003_1"
    case = tmp_path / "raw" / "BraTS2021_00003"
    case.mkdir(parents=True)
    (case / f"{case.name}_seg.nii.gz").symlink_to(folder / "OTMultiClass.nii.gz")
    for sequence in SEQUENCES:
        source = "Flair" if sequence in ("flair", "t2") else "T1c"
        target = case / f"{case.name}_{sequence}.nii.gz"
        target.symlink_to(folder / f"{source}_subtrMeanDivStd.nii.gz")
    assert main(["datasets", "verify", str(case.parent), "--dataset", "brats21", "-q"]) == 2
    row = capsys.readouterr().out.splitlines()[-1].split("\t")
    assert row[:3] == [case.name, "1", "240x240x155"]
    assert row[6] == "0 1 2 3 4"
    assert "has the values 3" in row[7]
