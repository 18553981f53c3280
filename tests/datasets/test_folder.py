import os
from pathlib import Path

import numpy as np
import pytest

import mednext_cli.datasets.folder
from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.volumes.scans import read_label_map
from tests.datasets.conftest import write_description, write_label, write_scan, write_series

Captured = pytest.CaptureFixture[str]


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


def test_unlabelled_cases_have_channels_too(raw: Path) -> None:
    for path in (raw / "images").iterdir():
        path.unlink()
    for name in ("a", "b", "c"):
        for number in (0, 1):
            write_scan(raw / "images" / f"{name}_{number:04d}.nii.gz")
    cases = {case.id: case for case in read_dataset(raw, "folder").cases}
    assert list(cases) == ["a", "b", "c"]
    assert cases["c"].label is None
    assert len(cases["c"].channels) == 2


def test_numbers_that_are_no_channels(raw: Path) -> None:
    """Images and labels of equal names are cases, though they end in four digits."""
    for folder in ("images", "labels"):
        for path in list((raw / folder).iterdir()):
            path.rename(path.with_name(f"img_000{'abc'.index(path.name[0])}.nii.gz"))
    ids = [case.id for case in read_dataset(raw, "folder").cases]
    assert ids == ["img_0000", "img_0001", "img_0002"]


def test_labels_named_in_another_way_are_one_line(raw: Path, capsys: Captured) -> None:
    for path in list((raw / "labels").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii", "_seg.nii")))
    assert main(["datasets", "verify", str(raw), "--dataset", "folder", "--workers", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no label is named like an image")
    assert "a_seg.nii.gz" in line
    assert line.endswith("Name every label like its case: a.nii.gz.")


def test_labels_with_the_number_of_a_channel(raw: Path) -> None:
    for path in (raw / "images").iterdir():
        path.unlink()
    for path in list((raw / "labels").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii", "_0000.nii")))
    for name in ("a", "b"):
        for number in (0, 1):
            write_scan(raw / "images" / f"{name}_{number:04d}.nii.gz")
    with pytest.raises(DatasetError, match=r"a_0000.nii.gz has a channel number.*Rename it to a\."):
        read_dataset(raw, "folder")


def test_one_label_without_image_fails_alone(raw: Path, capsys: Captured) -> None:
    """Whatever the other cases have: here two channels."""
    for path in (raw / "images").iterdir():
        path.unlink()
    for name in ("a", "c"):
        for number in (0, 1):
            write_scan(raw / "images" / f"{name}_{number:04d}.nii.gz")
    assert main(["datasets", "verify", str(raw), "--dataset", "folder", "--workers", "0"]) == 2
    said = capsys.readouterr()
    assert "1 labels have no image of their name (b)" in said.err
    assert "1 of 3 cases failed: b." in said.err
    assert "b_0000.nii.gz does not exist" in said.out


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_scans_a_level_deeper(raw: Path, folder: str) -> None:
    for path in list((raw / folder).iterdir()):
        (raw / folder / "deeper").mkdir(exist_ok=True)
        path.rename(raw / folder / "deeper" / path.name)
    with pytest.raises(DatasetError, match=f"{folder} holds no .* itself, but its folder deeper"):
        read_dataset(raw, "folder")


def test_names_from_the_options(raw: Path, tmp_path: Path, capsys: Captured) -> None:
    call = [str(raw), "--dataset", "folder", "--workers", "0"]
    named = ["--labels", "liver=1,tumour=44,cyst=7"]
    assert main(["datasets", "verify", *call, *named]) == 0
    assert main(["preprocess", *call, *named, "--cache", str(tmp_path / "cache")]) == 0
    plan = open_cache(tmp_path / "cache" / "Mine").plan
    assert plan.label_set.names == {"liver": 1, "tumour": 44, "cyst": 7}
    capsys.readouterr()
    assert main(["datasets", "verify", *call, "--labels", "liver=1"]) == 2
    assert "has the values 44, which the dataset does not name" in capsys.readouterr().out
    assert main(["datasets", "verify", *call, "--labels", "liver"]) == 2
    assert "'liver' is not NAME=VALUE" in capsys.readouterr().err
    assert main(["datasets", "verify", str(raw), "--dataset", "kits19", *named]) == 2
    assert "the layout kits19 does not take --labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "Liver": 1, "a cyst": 7, "tumour": 44},
        {"0": "background", "1": "Liver", "7": "a cyst", "44": "tumour"},
        {"background": "0", "Liver": "1", "a cyst": "7", "tumour": "44"},
    ],
)
@pytest.mark.parametrize("channels", [{"channel_names": {"0": "ct"}}, {"modality": ["CT"]}])
def test_names_from_a_dataset_json_beside(
    raw: Path, labels: dict[str, object], channels: dict[str, object]
) -> None:
    write_description(raw, labels=labels, **channels)
    dataset = read_dataset(raw, "folder")
    assert dataset.channels == ("CT",)
    assert dataset.labels.names == {"liver": 1, "a_cyst": 7, "tumour": 44}
    assert read_dataset(raw, "folder", LayoutOptions(modality="mr")).channels == ("MR",)


def test_regions_and_wrong_channels_in_dataset_json(raw: Path) -> None:
    described = {"background": 0, "whole": [1, 7], "core": 7, "ignore": 44}
    write_description(raw, labels=described, regions_class_order=[1, 7])
    labels = read_dataset(raw, "folder").labels
    assert (labels.region_training, labels.ignore) == (True, 44)
    write_description(raw, channel_names={"0": "T1", "1": "T2"})
    with pytest.raises(DatasetError, match="names 2 channels, the cases have 1"):
        read_dataset(raw, "folder")


def test_it_is_the_guess_where_the_description_names_labels(raw: Path) -> None:
    write_description(raw, labels={"background": 0, "liver": 1})
    with pytest.raises(DatasetError, match="looks like --dataset folder"):
        read_dataset(raw, "kits19")


def test_a_label_that_breaks_the_reader_is_that_case_s_fault(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> object:
        if path.name == "a.nii.gz":
            raise ZeroDivisionError("ours")
        return read_label_map(path)

    monkeypatch.setattr(mednext_cli.datasets.folder, "read_label_map", read)
    assert read_dataset(raw, "folder").labels.names == {"label_7": 7}
