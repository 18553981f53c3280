from pathlib import Path

import pytest

from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.registry import load_layout, read_dataset
from mednext_cli.foundation.errors import DatasetError, SettingsError
from tests.datasets.conftest import write_description, write_label, write_scan


@pytest.fixture
def amos22(tmp_path: Path) -> Path:
    raw = tmp_path / "amos22"
    for part, numbers in (("Tr", (1, 500, 507)), ("Va", (8, 544))):
        for number in numbers:
            write_scan(raw / f"images{part}" / f"amos_{number:04d}.nii.gz")
            write_label(raw / f"labels{part}" / f"amos_{number:04d}.nii.gz", (1, 15))
    for number in (2, 501):
        write_scan(raw / "imagesTs" / f"amos_{number:04d}.nii.gz")
    (raw / "imagesTr" / "._amos_0001.nii.gz").write_bytes(b"junk")
    write_description(
        raw,
        modality={"0": "CT"},
        labels={"0": "background", "1": "spleen", "10": "pancreas", "8": "arota"},
        training=[{"image": "./imagesTr/amos_0001.nii.gz", "label": "./labelsTr/amos_0001.nii.gz"}],
        validation=[
            {"image": "./imagesVa/amos_0008.nii.gz", "label": "./labelsVa/amos_0008.nii.gz"}
        ],
        test=[{"image": "./imagesTs/amos_0002.nii.gz"}, "./imagesTs/amos_0501.nii.gz"],
    )
    return raw


@pytest.mark.parametrize(
    ("modality", "name", "channel", "numbers"),
    [
        ("ct", "amos22_ct", "CT", [1, 2, 8, 500]),
        ("mr", "amos22_mr", "MR", [501, 507, 544]),
        ("all", "amos22", "CT_or_MR", [1, 2, 8, 500, 501, 507, 544]),
        (None, "amos22", "CT_or_MR", [1, 2, 8, 500, 501, 507, 544]),
    ],
)
def test_ct_up_to_0500_and_mr_above(
    amos22: Path, modality: str, name: str, channel: str, numbers: list[int]
) -> None:
    dataset = read_dataset(amos22, "amos22", LayoutOptions(modality=modality))
    assert (dataset.name, dataset.channels) == (name, (channel,))
    assert [case.id for case in dataset.cases] == [f"amos_{number:04d}" for number in numbers]
    unlabelled = {int(case.id[-4:]) for case in dataset.cases if case.label is None}
    assert unlabelled == {2, 501} & set(numbers)


def test_fifteen_organs() -> None:
    labels = load_layout("amos22").label_set
    assert labels is not None
    assert labels.values == tuple(range(16))
    assert (labels.names["aorta"], labels.names["prostate_uterus"]) == (8, 15)


def test_what_dataset_json_lists_and_is_not_there_is_a_case(amos22: Path) -> None:
    (amos22 / "imagesTr" / "amos_0001.nii.gz").unlink()
    (amos22 / "labelsTr" / "amos_0001.nii.gz").unlink()
    case = read_dataset(amos22, "amos22").cases[0]
    assert (case.id, case.channels[0].path.exists()) == ("amos_0001", False)


def test_folders_without_description_or_validation_labels(amos22: Path) -> None:
    (amos22 / "dataset.json").unlink()
    for path in (amos22 / "labelsVa").iterdir():
        path.unlink()
    (amos22 / "labelsVa").rmdir()
    dataset = read_dataset(amos22, "amos22")
    assert len(dataset.cases) == 7
    assert [case.id for case in dataset.labelled] == ["amos_0001", "amos_0500", "amos_0507"]


def test_no_scans_of_the_modality(tmp_path: Path) -> None:
    write_scan(tmp_path / "raw" / "imagesTr" / "amos_0001.nii.gz")
    with pytest.raises(DatasetError, match="holds no MR"):
        read_dataset(tmp_path / "raw", "amos22", LayoutOptions(modality="mr"))


def test_option_of_another_layout(amos22: Path) -> None:
    with pytest.raises(SettingsError, match=r"amos22 does not take --region-training.*--modality"):
        read_dataset(amos22, "amos22", LayoutOptions(region_training=True))
    with pytest.raises(SettingsError, match=r"msd does not take --modality\. Leave"):
        read_dataset(amos22, "msd", LayoutOptions(modality="ct"))


def test_paths_stay_inside(amos22: Path) -> None:
    write_description(amos22, test=["../../amos_0001.nii.gz"])
    with pytest.raises(DatasetError, match="points outside"):
        read_dataset(amos22, "amos22")
