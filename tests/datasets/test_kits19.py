from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
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
        PluginError,
        match=r"Did you mean kits19\? Known: amos22, .*kits19, kits21, kits23, msd, nnunet",
    ):
        read_dataset(kits19, "kits_19")


@pytest.mark.parametrize("layout", ["kits19", "msd", "nnunet"])
def test_no_folder(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(tmp_path / "gone", layout)
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is not a folder"):
        read_dataset(tmp_path / "file", layout)


def test_test_cases_are_mentioned_once(kits19: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["datasets", "verify", str(kits19), "--dataset", "kits19", "--workers", "0"]
    main(call)
    noted = [line for line in capsys.readouterr().err.splitlines() if "test cases" in line]
    assert noted == [
        "kits19: 1 of 3 cases have no label map and count as test cases (case_00210)",
    ]


@pytest.mark.slow
def test_real_labels_with_a_qform_only(data_folder: Path, tmp_path: Path) -> None:
    """Slices come first; the image says where it lies in its sform, the label in its qform."""
    for number in (15, 23):
        _come_through(data_folder, tmp_path / str(number), number)


def _come_through(data_folder: Path, tmp_path: Path, number: int) -> None:
    source = data_folder / "kits19_labels" / f"case_{number:05d}" / "segmentation.nii.gz"
    label = nibabel.load(source)
    assert (int(label.header["sform_code"]), int(label.header["qform_code"])) == (0, 1)
    case = tmp_path / "raw" / f"case_{number:05d}"
    case.mkdir(parents=True)
    (case / "segmentation.nii.gz").symlink_to(source)
    values = np.asarray(label.dataobj).astype(np.int16)
    image = nibabel.Nifti1Image(
        values * 100 + 10 + np.arange(values.shape[2], dtype=np.int16), None
    )
    image.set_sform(label.affine, 2)
    nibabel.save(image, case / "imaging.nii.gz")
    call = [str(tmp_path / "raw"), "--dataset", "kits19", "--workers", "0"]
    assert main(["datasets", "verify", *call]) == 0
    cache = tmp_path / "cache"
    assert main(["preprocess", *call, "--spacing", "median", "--cache", str(cache)]) == 0
    made = open_cache(cache / "kits19").case(case.name).read_label()
    assert made.shape == values.shape
    assert np.array_equal(np.bincount(made.ravel()), np.bincount(values.ravel()))
    assert np.array_equal(made, values[::-1, ::-1, ::-1])
