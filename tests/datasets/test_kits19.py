from pathlib import Path

import pytest

from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError, PluginError
from tests.datasets.conftest import write_label, write_scan


@pytest.fixture
def kits19(tmp_path: Path) -> Path:
    raw = tmp_path / "some name"
    for number in (0, 1, 210):
        write_scan(raw / f"case_{number:05d}" / "imaging.nii.gz")
    for number in (0, 1):
        write_label(raw / f"case_{number:05d}" / "segmentation.nii.gz", (1, 2))
    (raw / "kits.json").write_text("[]")
    (raw / "case_1").mkdir()
    return raw


def test_cases(kits19: Path) -> None:
    dataset = read_dataset(kits19, "kits19")
    assert (dataset.name, dataset.layout, dataset.channels) == ("kits19", "kits19", ("CT",))
    assert [case.id for case in dataset.cases] == ["case_00000", "case_00001", "case_00210"]
    assert [case.id for case in dataset.labelled] == ["case_00000", "case_00001"]
    assert dataset.labels.names == {"kidney": 1, "tumour": 2}
    assert dataset.labels.regions == {"kidney_and_tumour": (1, 2), "tumour": (2,)}


def test_clone_of_the_challenge(kits19: Path, tmp_path: Path) -> None:
    clone = tmp_path / "kits19"
    clone.mkdir()
    kits19.rename(clone / "data")
    assert len(read_dataset(clone, "kits19").cases) == 3


def test_real_labels(data_folder: Path) -> None:
    dataset = read_dataset(data_folder / "kits19_labels", "kits19")
    assert len(dataset.labelled) == 12


def test_same_scan_twice(kits19: Path) -> None:
    write_scan(kits19 / "case_00001" / "imaging.nii")
    with pytest.raises(DatasetError, match=r"imaging.nii.gz and .*imaging.nii are the same"):
        read_dataset(kits19, "kits19")


@pytest.mark.parametrize(
    ("layout", "says"),
    [("kits19", "holds no case_00000.*--dataset msd"), ("nnunet", "channel number.*--dataset msd")],
)
def test_folder_of_another_layout(msd: Path, layout: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        read_dataset(msd, layout)


def test_case_folders_as_msd(kits19: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset.json does not exist.*--dataset kits19"):
        read_dataset(kits19, "msd")


def test_unknown_layout_names_the_nearest(kits19: Path) -> None:
    with pytest.raises(
        PluginError, match=r"Did you mean kits19\? Known: amos22, .*kits19, msd, nnunet"
    ):
        read_dataset(kits19, "kits")


@pytest.mark.parametrize("layout", ["kits19", "msd", "nnunet"])
def test_no_folder(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(tmp_path / "gone", layout)
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is not a folder"):
        read_dataset(tmp_path / "file", layout)
