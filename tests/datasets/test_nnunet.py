import logging
from pathlib import Path
from typing import Any

import pytest

from mednext_cli.app import main
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import write_description, write_label, write_scan

BRATS_LABELS = {
    "background": 0,
    "whole tumour": [1, 2, 3],
    "tumour core": [2, 3],
    "enhancing": [3],
    "ignore": 4,
}


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    raw = tmp_path / "Dataset007_Two"
    for name in ("p_1", "p_2"):
        for channel in ("0000", "0001"):
            write_scan(raw / "imagesTr" / f"{name}_{channel}.nii.gz")
        write_label(raw / "labelsTr" / f"{name}.nii.gz")
    for channel in ("0000", "0001"):
        write_scan(raw / "imagesTs" / f"q_{channel}.nii.gz")
    describe(raw)
    return raw


def describe(raw: Path, **changes: Any) -> None:
    keys: dict[str, Any] = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": {"background": 0, "PZ": 1, "TZ": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
        **changes,
    }
    write_description(raw, **{key: value for key, value in keys.items() if value is not None})


def test_version_2(version_2: Path) -> None:
    (version_2 / "imagesTr" / "._p_1_0000.nii.gz").write_bytes(b"junk of macOS")
    dataset = read_dataset(version_2, "nnunet")
    assert dataset.name == "Dataset007_Two"
    assert dataset.channels == ("T2", "ADC")
    assert dict(dataset.labels.names) == {"pz": 1, "tz": 2}
    assert not dataset.labels.region_training
    assert [(case.id, case.label is None) for case in dataset.cases] == [
        ("p_1", False),
        ("p_2", False),
        ("q", True),
    ]
    names = [channel.path.name for channel in dataset.cases[0].channels]
    assert names == ["p_1_0000.nii.gz", "p_1_0001.nii.gz"]


def test_regions_and_ignore_label(version_2: Path) -> None:
    describe(version_2, labels=BRATS_LABELS, regions_class_order=[1, 2, 3])
    labels = read_dataset(version_2, "nnunet").labels
    assert labels.regions == {"whole_tumour": (1, 2, 3), "tumour_core": (2, 3), "enhancing": (3,)}
    assert labels.region_training
    assert labels.region_values == (1, 2, 3)
    assert labels.names == {"label_1": 1, "label_2": 2, "enhancing": 3}
    assert labels.values == (0, 1, 2, 3, 4)
    assert labels.ignore == 4


def test_missing_channel_or_label_is_left_to_its_case(version_2: Path) -> None:
    (version_2 / "imagesTr" / "p_1_0001.nii.gz").unlink()
    (version_2 / "labelsTr" / "p_2.nii.gz").unlink()
    write_label(version_2 / "labelsTr" / "p_3.nii.gz")
    cases = {case.id: case for case in read_dataset(version_2, "nnunet").cases}
    assert len(cases["p_1"].channels) == 2
    assert cases["p_2"].label is not None
    assert not cases["p_3"].channels[0].path.exists()


def test_explicit_paths(version_2: Path) -> None:
    images = ["imagesTs/q_0000.nii.gz", "imagesTs/q_0001.nii.gz"]
    label = "labelsTr/p_1.nii.gz"
    describe(version_2, dataset={"own": {"images": images, "label": label}})
    (case,) = read_dataset(version_2, "nnunet").cases
    assert case.id == "own"
    assert case.channels[1].path == version_2 / images[1]
    assert case.label == version_2 / label


def test_version_1(tmp_path: Path) -> None:
    raw = tmp_path / "Task007_One"
    write_scan(raw / "imagesTr" / "p_0000.nii.gz")
    write_scan(raw / "imagesTr" / "not_listed_0000.nii.gz")
    write_label(raw / "labelsTr" / "p.nii.gz")
    write_scan(raw / "imagesTs" / "q_0000.nii.gz")
    write_description(
        raw,
        modality={"0": "ct"},
        labels={"0": "background", "1": "Kidney"},
        training=[{"image": "./imagesTr/p.nii.gz", "label": "./labelsTr/p.nii.gz"}],
        test=[{"image": "./imagesTr/q.nii.gz"}],  # published converters write the wrong folder
    )
    dataset = read_dataset(raw, "nnunet")
    assert dataset.channels == ("CT",)
    assert [case.id for case in dataset.cases] == ["p", "q"]
    assert [channel.path.name for channel in dataset.cases[0].channels] == ["p_0000.nii.gz"]
    assert dataset.cases[1].channels[0].path == raw / "imagesTs" / "q_0000.nii.gz"


def test_other_ending_is_left_out_with_a_note(
    version_2: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(version_2 / "imagesTr" / "r_0000.nii")
    monkeypatch.setattr(logging.getLogger("mednext_cli"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        assert "r" not in [case.id for case in read_dataset(version_2, "nnunet").cases]
    assert "r_0000.nii" in caplog.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"file_ending": ".png"}, "end in '.png'"),
        ({"file_ending": None}, "no key 'file_ending'"),
        ({"channel_names": None}, "no key 'modality'"),
        ({"channel_names": {"0": "T2"}}, "dataset.json does not name"),
        ({"labels": BRATS_LABELS}, "regions_class_order"),
        ({"labels": BRATS_LABELS, "regions_class_order": [1, 2]}, "one label value to each"),
        ({"labels": BRATS_LABELS, "regions_class_order": [1, 2, 9]}, "one label value to each"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "same value"),
        ({"labels": {"background": 0, "a": 1.5}}, "has the value 1.5"),
        ({"labels": {"background": 0, "a": True}}, "has the value True"),
        ({"labels": {"background": 0, "a": [0, 1], "b": [1, 2]}}, "holds background"),
        ({"labels": {"background": 0, "a": 1, "ignore": 1}}, "also in use"),
        ({"dataset": {"x": {"images": ["imagesTs/q_0000.nii.gz"]}}}, "name 2 images"),
        ({"dataset": {"../x": {"images": ["a.nii.gz", "b.nii.gz"]}}}, "cannot name a case"),
        ({"dataset": {"x": {"images": ["$HOME/a.nii.gz", "/b.nii.gz"]}}}, "points outside"),
    ],
)
def test_wrong_dataset_json(version_2: Path, changes: dict[str, object], says: str) -> None:
    describe(version_2, **changes)
    with pytest.raises(DatasetError, match=says):
        read_dataset(version_2, "nnunet")


def test_duplicates(version_2: Path) -> None:
    twin = write_scan(version_2 / "imagesTr" / "p_1_0000.nii")
    with pytest.raises(
        DatasetError, match=r"duplicate case: .*p_1_0000.nii.gz and .*p_1_0000.nii are"
    ):
        read_dataset(version_2, "nnunet")
    twin.unlink()
    for channel in ("0000", "0001"):
        write_scan(version_2 / "imagesTs" / f"p_1_{channel}.nii.gz")
    with pytest.raises(DatasetError, match="duplicate case p_1"):
        read_dataset(version_2, "nnunet")


def test_nrrd(version_2: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    for path in list(version_2.rglob("*.nii.gz")):
        image = itk.ReadImage(str(path))
        itk.WriteImage(image, str(path).replace(".nii.gz", ".nrrd"))
        path.unlink()
    describe(version_2, file_ending=".nrrd", overwrite_image_reader_writer="SimpleITKIO")
    assert [case.id for case in read_dataset(version_2, "nnunet").cases] == ["p_1", "p_2", "q"]
    assert main(["datasets", "verify", str(version_2), "--dataset", "nnunet", "-q"]) == 0


def test_aliases_of_old_and_new_spellings(tmp_path: Path) -> None:
    """Version 2 may call its channels modality; version 1 may pad its label numbers."""
    raw = tmp_path / "Task017_AbdominalOrganSegmentation"
    write_scan(raw / "imagesTr" / "ABD_001_0000.nii.gz")
    write_label(raw / "labelsTr" / "ABD_001.nii.gz", (1, 13))
    labels = {f"{number:02d}": f"organ {number}" for number in range(1, 14)}
    write_description(
        raw,
        modality={"0": "CT"},
        labels={"00": "background", **labels},
        training=[{"image": "./imagesTr/ABD_001.nii.gz", "label": "./labelsTr/ABD_001.nii.gz"}],
        test=[],
    )
    assert read_dataset(raw, "nnunet").labels.values == tuple(range(14))
    describe(raw, channel_names=None, modality={"0": "CT"})
    assert read_dataset(raw, "nnunet").channels == ("CT",)


def test_labels_with_the_number_of_a_channel(version_2: Path) -> None:
    for path in list((version_2 / "labelsTr").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii", "_0000.nii")))
    with pytest.raises(DatasetError, match=r"channel number in its name.*Rename it to p_1\.nii"):
        read_dataset(version_2, "nnunet")


def test_labels_named_in_another_way(version_2: Path) -> None:
    for path in list((version_2 / "labelsTr").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii", "_seg.nii")))
    with pytest.raises(DatasetError, match="no label is named like an image"):
        read_dataset(version_2, "nnunet")


def test_version_1_that_lists_a_channel(tmp_path: Path) -> None:
    write_scan(tmp_path / "imagesTr" / "p_0000.nii.gz")
    write_label(tmp_path / "labelsTr" / "p.nii.gz")
    known = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "x"}}
    entry = {"image": "imagesTr/p_0000.nii.gz", "label": "labelsTr/p.nii.gz"}
    write_description(tmp_path, **known, training=[entry])
    with pytest.raises(DatasetError, match=r"p_0000\.nii\.gz, with the number of a channel"):
        read_dataset(tmp_path, "nnunet")


@pytest.mark.slow
@pytest.mark.parametrize(
    "labels",
    [{"background": "0", "PZ": "1", "TZ": "2"}, {"background": 0.0, "PZ": 1.0, "TZ": "2"}],
)
def test_labels_as_texts(version_2: Path, labels: dict[str, object]) -> None:
    describe(version_2, labels=labels)
    assert read_dataset(version_2, "nnunet").labels.names == {"pz": 1, "tz": 2}
    assert main(["datasets", "verify", str(version_2), "--dataset", "nnunet", "-q"]) == 0


def test_regions_as_texts(version_2: Path) -> None:
    regions = {"background": "0", "whole": ["1", "2"], "core": "2"}
    describe(version_2, labels=regions, regions_class_order=["1", "2"])
    labels = read_dataset(version_2, "nnunet").labels
    assert labels.regions == {"whole": (1, 2), "core": (2,)}
    assert labels.region_values == (1, 2)


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_files_that_do_not_end_as_dataset_json_says(
    version_2: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (version_2 / folder).iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", ".nii")))
    assert main(["datasets", "verify", str(version_2), "--dataset", "nnunet"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert f"no scan in {version_2 / folder} ends in .nii.gz, as dataset.json says" in error
    assert "Correct file_ending" in error


def test_test_images_that_end_otherwise_are_named(
    version_2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (version_2 / "imagesTs").iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", ".nii")))
    call = ["datasets", "verify", str(version_2), "--dataset", "nnunet", "--workers", "0"]
    assert main(call) == 0
    assert "2 scans belong to no case" in capsys.readouterr().err


def test_version_2_with_the_label_table_of_version_1(version_2: Path) -> None:
    describe(version_2, labels={"0": "background", "1": "PZ", "2": "TZ"})
    dataset = read_dataset(version_2, "nnunet")
    assert dict(dataset.labels.names) == {"pz": 1, "tz": 2}
    assert [case.id for case in dataset.labelled] == ["p_1", "p_2"]
