from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.datasets.dataset import Channel
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import describe_msd, write_label, write_scan


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


# Channels and labels as the ten dataset.json spell them (quoted; only Task04's was at hand).
TEN_TASKS = {
    "Task01_BrainTumour": (
        ["FLAIR", "T1w", "t1gd", "T2w"],
        ["edema", "non-enhancing tumor", "enhancing tumour"],
    ),
    "Task02_Heart": (["MRI"], ["left atrium"]),
    "Task03_Liver": (["CT"], ["liver", "cancer"]),
    "Task04_Hippocampus": (["MRI"], ["Anterior", "Posterior"]),
    "Task05_Prostate": (["T2", "ADC"], ["PZ", "TZ"]),
    "Task06_Lung": (["CT"], ["cancer"]),
    "Task07_Pancreas": (["CT"], ["pancreas", "cancer"]),
    "Task08_HepaticVessel": (["CT"], ["Vessel", "Tumour"]),
    "Task09_Spleen": (["CT"], ["spleen"]),
    "Task10_Colon": (["CT"], ["colon cancer primaries"]),
}


@pytest.mark.parametrize("task", TEN_TASKS)
def test_the_ten_tasks(msd: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Channels, labels and tolerances; images are 4D where there are several channels."""
    channels, labels = TEN_TASKS[task]
    describe_msd(
        msd,
        modality={str(index): name for index, name in enumerate(channels)},
        labels={"0": "background", **{str(i): name for i, name in enumerate(labels, start=1)}},
        relase="1.0",  # as Task04 spells it
        tensorImageSize="4D" if len(channels) > 1 else "3D",
    )
    raw = msd.rename(msd.parent / task)
    for path in [*raw.glob("imagesTr/*.gz"), *raw.glob("imagesTs/*.gz")]:
        if len(channels) > 1:
            seed = sum(path.name.encode())
            write_scan(path, np.random.default_rng(seed).normal(size=(4, 5, 6, len(channels))))
    for path in raw.glob("labelsTr/*.gz"):
        write_label(path, tuple(range(1, len(labels) + 1)))
    (raw / "imagesTr" / "._a.nii.gz").write_bytes(b"junk of macOS")
    dataset = read_dataset(raw, "msd")
    assert list(dataset.channels) == channels
    assert list(dataset.labels.names.values()) == list(range(1, len(labels) + 1))
    assert set(dataset.labels.tolerance_mm) == set(dataset.labels.names)
    assert len(dataset.cases[0].channels) == len(channels)
    assert main(["datasets", "verify", str(raw), "--dataset", "msd", "--workers", "0"]) == 0


def test_a_3d_file_where_several_channels_are_named(
    msd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    describe_msd(msd, modality={"0": "T2", "1": "ADC"})
    assert main(["datasets", "verify", str(msd), "--dataset", "msd", "--workers", "0"]) == 2
    assert "a.nii.gz is not 4D: its shape is 4 x 5 x 6" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["preprocess", "datasets verify"])
def test_more_volumes_than_channels(
    msd: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    describe_msd(msd, modality={"0": "T2", "1": "ADC"})
    volumes = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    for path in (msd / "imagesTr").iterdir():
        nibabel.save(nibabel.Nifti1Image(volumes, nibabel.load(path).affine), path)
    options = ["--dataset", "msd", "--workers", "0"]
    options += ["--cache", str(msd.parent / "cache")] if command == "preprocess" else []
    assert main([*command.split(), str(msd), *options]) == 2
    said = "".join(capsys.readouterr())
    assert "a.nii.gz holds more than the 2 volumes that are named as channels" in said
