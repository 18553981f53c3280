from pathlib import Path

import pytest

from mednext_cli.datasets.dataset import Channel
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import describe_msd, write_scan


def test_real_hippocampus(data_folder: Path) -> None:
    dataset = read_dataset(data_folder / "Task04_Hippocampus", "msd")
    assert dataset.name == "Task04_Hippocampus"
    assert (len(dataset.cases), len(dataset.labelled)) == (221, 220)
    assert dataset.channels == ("MRI",)
    assert dataset.labels.regions == {"anterior": (1,), "posterior": (2,)}
    assert dataset.labels.tolerance_mm == {"anterior": 1.0, "posterior": 1.0}
    assert all(case.channels[0].path.is_file() for case in dataset.cases)


def test_cases_are_sorted_and_counts_ignored(msd: Path) -> None:
    dataset = read_dataset(msd, "msd")
    assert [case.id for case in dataset.cases] == ["a", "b", "c"]
    assert [case.id for case in dataset.labelled] == ["a", "b"]
    assert dict(dataset.labels.names) == {"left_part": 1, "right_part": 2}
    assert dataset.labels.values == (0, 1, 2)


def test_several_modalities_are_volumes_of_one_file(msd: Path) -> None:
    describe_msd(msd, modality={"1": "T1w", "0": "FLAIR"}, labels={"00": "bg", "01": "tumour"})
    dataset = read_dataset(msd, "msd")
    path = msd / "imagesTr" / "a.nii.gz"
    assert dataset.channels == ("FLAIR", "T1w")
    assert dataset.cases[0].channels == (Channel(path, 0), Channel(path, 1))
    assert dataset.labels.names == {"tumour": 1}


def test_ct_in_any_spelling_decides_normalisation(msd: Path) -> None:
    describe_msd(msd, modality={"0": "ct"})
    assert read_dataset(msd, "msd").channels == ("CT",)


def test_entries_may_be_texts_or_objects_and_junk_is_skipped(msd: Path) -> None:
    describe_msd(
        msd,
        training=["./imagesTr/a.nii.gz", "./imagesTr/._a.nii.gz"],
        test=[{"image": "imagesTs/c.nii.gz"}],
    )
    dataset = read_dataset(msd, "msd")
    assert [case.id for case in dataset.cases] == ["a", "c"]
    assert dataset.cases[0].label == msd / "labelsTr" / "a.nii.gz"


def test_one_missing_scan_is_left_to_its_case(msd: Path) -> None:
    (msd / "imagesTr" / "a.nii.gz").unlink()
    assert [case.id for case in read_dataset(msd, "msd").cases] == ["a", "b", "c"]


def test_symlinked_scans_are_fine(msd: Path, tmp_path: Path) -> None:
    elsewhere = write_scan(tmp_path / "elsewhere" / "x.nii.gz")
    scan = msd / "imagesTr" / "a.nii.gz"
    scan.unlink()
    scan.symlink_to(elsewhere)
    assert len(read_dataset(msd, "msd").cases) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": None}, "no key 'labels'"),
        ({"training": None}, "no key 'training'"),
        ({"training": {}}, "'training' is not a list"),
        ({"modality": {"0": "a", "2": "b"}}, "channels are numbered 0, 2"),
        ({"modality": {"first": "a"}}, "number"),
        ({"labels": {"0": "background"}}, "no label but background"),
        ({"labels": {"1": "Part A", "2": "part-a"}}, "'part_a' like 'Part A'"),
        ({"labels": {"1": "a", "01": "b"}}, "same value"),
        ({"labels": {"1": 2}}, "not a number with a name"),
        ({"training": [], "test": []}, "holds no cases"),
        ({"training": ["imagesTr/gone.nii.gz"], "test": []}, "none of the 1 images"),
        ({"training": ["imagesTr/a.nii.gz", "./imagesTr/a.nii.gz"]}, "case a: .* listed twice"),
        ({"training": ["imagesTr/a.nii.gz", "imagesTr/a.nii"]}, "a.nii.gz and .*a.nii"),
        ({"test": ["../elsewhere/x.nii.gz"]}, "points outside"),
        ({"test": ["imagesTr/../../x.nii.gz"]}, "points outside"),
        ({"test": ["/etc/passwd"]}, "points outside"),
        ({"training": [{"image": "imagesTr/a.nii.gz", "label": "../x.nii.gz"}]}, "points outside"),
        ({"training": [{"image": 3}]}, "no file name"),
        ({"training": [{"image": "imagesTr/a.nii.gz"}]}, "no file name"),
    ],
)
def test_wrong_dataset_json(msd: Path, changes: dict[str, object], says: str) -> None:
    describe_msd(msd, **changes)
    with pytest.raises(DatasetError, match=says) as caught:
        read_dataset(msd, "msd")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"), [("{", "not valid JSON"), ("[1]", "no JSON object"), (None, "not exist")]
)
def test_broken_dataset_json(msd: Path, content: str | None, says: str) -> None:
    (msd / "dataset.json").unlink()
    if content is not None:
        (msd / "dataset.json").write_text(content)
    with pytest.raises(DatasetError, match=says):
        read_dataset(msd, "msd")
