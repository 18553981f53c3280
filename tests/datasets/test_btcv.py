from pathlib import Path

import pytest

from mednext_cli.datasets.registry import load_layout, read_dataset
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import write_label, write_scan

ORGANS = {"spleen": 1, "oesophagus": 5, "portal_and_splenic_veins": 10, "left_adrenal_gland": 13}


@pytest.fixture
def btcv(tmp_path: Path) -> Path:
    raw = tmp_path / "abdomen" / "RawData"
    for number in (1, 10, 21):  # 0011 to 0020 do not exist
        write_scan(raw / "Training" / "img" / f"img{number:04d}.nii.gz")
        write_label(raw / "Training" / "label" / f"label{number:04d}.nii.gz", (1, 13))
    write_scan(raw / "Testing" / "img" / "img0061.nii.gz")
    return raw


def test_images_and_labels_belong_together_by_number(btcv: Path) -> None:
    dataset = read_dataset(btcv, "btcv")
    assert (dataset.name, dataset.channels) == ("btcv", ("CT",))
    assert [case.id for case in dataset.cases] == ["img0001", "img0010", "img0021", "img0061"]
    assert dataset.cases[1].label == btcv / "Training" / "label" / "label0010.nii.gz"
    assert [case.id for case in dataset.labelled] == ["img0001", "img0010", "img0021"]


def test_thirteen_organs() -> None:
    labels = load_layout("btcv").label_set
    assert labels is not None
    assert labels.values == tuple(range(14))
    assert {name: labels.names[name] for name in ORGANS} == ORGANS
    assert labels.regions["liver"] == (6,)


@pytest.mark.parametrize("test_folder", ["Test", "Testing"])
def test_the_folder_above_and_mirrors_of_the_test_folder(btcv: Path, test_folder: str) -> None:
    (btcv / "Testing").rename(btcv / test_folder)
    assert [case.id for case in read_dataset(btcv.parent, "btcv").cases][-1] == "img0061"


def test_the_folders_of_monai_s_tutorials(btcv: Path) -> None:
    (btcv / "Training" / "img").rename(btcv / "imagesTr")
    (btcv / "Training" / "label").rename(btcv / "labelsTr")
    (btcv / "Testing" / "img").rename(btcv / "imagesTs")
    dataset = read_dataset(btcv, "btcv")
    assert (len(dataset.cases), len(dataset.labelled)) == (4, 3)


def test_a_label_without_its_image_is_that_case_s_fault(btcv: Path) -> None:
    (btcv / "Training" / "img" / "img0010.nii.gz").unlink()
    case = read_dataset(btcv, "btcv").cases[1]
    assert case.id == "img0010"
    assert not case.channels[0].path.exists()


def test_other_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no Training/img"):
        read_dataset(tmp_path, "btcv")
