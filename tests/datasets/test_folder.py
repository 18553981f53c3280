import os
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError, SettingsError
from tests.datasets.conftest import write_description, write_label, write_scan, write_series


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two labelled cases and one more image."""
    folder = tmp_path / "Mine"
    for name in ("a", "b", "c"):
        write_scan(folder / "images" / f"{name}.nii.gz")
    write_label(folder / "labels" / "a.nii.gz", (1, 300 % 256))
    write_label(folder / "labels" / "b.nii.gz", (7,))
    return folder


def test_label_values_are_those_found(raw: Path) -> None:
    dataset = read_dataset(raw, "folder")
    assert (dataset.name, dataset.channels) == ("Mine", ("image",))
    assert dataset.labels.names == {"label_1": 1, "label_7": 7, "label_44": 44}
    assert [(case.id, case.label is None) for case in dataset.cases] == [
        ("a", False),
        ("b", False),
        ("c", True),
    ]


def test_modality(raw: Path) -> None:
    assert read_dataset(raw, "folder", LayoutOptions(modality="ct")).channels == ("CT",)
    with pytest.raises(SettingsError, match="ct or mr"):
        read_dataset(raw, "folder", LayoutOptions(modality="all"))


def test_channels_by_number(raw: Path) -> None:
    for name in ("a", "b", "c"):
        (raw / "images" / f"{name}.nii.gz").unlink()
    for name in ("a", "b"):
        for number in (0, 1):
            write_scan(raw / "images" / f"{name}_{number:04d}.nii.gz")
    dataset = read_dataset(raw, "folder")
    assert dataset.channels == ("image_0", "image_1")
    assert [channel.path.name for channel in dataset.cases[1].channels] == [
        "b_0000.nii.gz",
        "b_0001.nii.gz",
    ]
    (raw / "images" / "b_0001.nii.gz").unlink()
    with pytest.raises(DatasetError, match="b has 1 channels, a 2"):
        read_dataset(raw, "folder")


def test_other_channels_in_another_case(raw: Path) -> None:
    for name, numbers in (("a", (0, 1)), ("b", (0, 2))):
        (raw / "images" / f"{name}.nii.gz").unlink()
        for number in numbers:
            write_scan(raw / "images" / f"{name}_{number:04d}.nii.gz")
    (raw / "images" / "c.nii.gz").unlink()
    with pytest.raises(DatasetError, match="b has the channels 0000, 0002, a 0000, 0001"):
        read_dataset(raw, "folder")


def test_an_image_with_and_without_a_channel_number(raw: Path) -> None:
    write_scan(raw / "images" / "a_0000.nii.gz")
    with pytest.raises(DatasetError, match=r"a_0000\.nii\.gz are both images of a"):
        read_dataset(raw, "folder")


def test_a_name_that_is_not_utf_8(raw: Path) -> None:
    path = raw / "images" / os.fsdecode(b"d\xff.nii.gz")
    try:
        (raw / "images" / "c.nii.gz").rename(path)
    except OSError:
        pytest.skip("this disk refuses such names")
    with pytest.raises(DatasetError, match="not UTF-8"):
        read_dataset(raw, "folder")


def test_a_dicom_series_and_a_label_without_image(raw: Path) -> None:
    write_series(raw / "images" / "d", np.ones((4, 5, 3), np.int16))
    write_label(raw / "labels" / "e.nii.gz")
    cases = {case.id: case for case in read_dataset(raw, "folder").cases}
    assert cases["d"].channels[0].path == raw / "images" / "d"
    assert not cases["e"].channels[0].path.exists()


def test_same_name_twice(raw: Path) -> None:
    write_scan(raw / "images" / "a.nii")
    with pytest.raises(DatasetError, match="duplicate case"):
        read_dataset(raw, "folder")


def test_other_folders(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folders images and labels"):
        read_dataset(tmp_path, "folder")
    for path in (raw / "labels").iterdir():
        write_label(path, ())
    with pytest.raises(DatasetError, match="no label map has any foreground"):
        read_dataset(raw, "folder")
    for path in (raw / "labels").iterdir():
        path.write_text("no scan")
    with pytest.raises(DatasetError, match=r"2 of 2 label maps fail: .*a\.nii\.gz is damaged"):
        read_dataset(raw, "folder")


def test_it_is_no_guess_where_a_description_is(raw: Path) -> None:
    with pytest.raises(DatasetError, match="looks like --dataset folder"):
        read_dataset(raw, "kits19")
    write_description(raw, name="x")
    with pytest.raises(DatasetError) as error:
        read_dataset(raw, "kits19")
    assert "looks like" not in str(error.value)
