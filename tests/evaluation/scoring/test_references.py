"""What names the labels where there are no scans, through the command line."""

import csv
import json

import numpy as np
import pytest

from mednext_cli.app import main
from tests.evaluation.conftest import boxes

REGIONS = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "whole tumour": [1, 2], "core": [2], "ignore": 3},
    "regions_class_order": [1, 2],
    "file_ending": ".nii.gz",
    "numTraining": 3,
}
NUMBERED = {
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "Liver", "2": "Tumour"},
    "training": [
        {"image": f"./imagesTr/case_{i}.nii.gz", "label": f"./labelsTr/case_{i}.nii.gz"}
        for i in range(3)
    ],
    "test": [],
}


@pytest.fixture
def move(folders, write_labels):
    """The references in a folder of another name, a corner of each annotated by nobody (3)."""
    predictions, labels = folders

    def move_to(name, ignored=True):
        target = labels.parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        labels.rename(target)
        for index, path in enumerate(sorted(target.iterdir())):
            array = boxes(first=4 + index)
            array[:2] = 3 if ignored else 0
            write_labels(path, array)
        return predictions, target

    return move_to


def evaluate(predictions, labels, *options):
    return main(["evaluate", str(predictions), str(labels), "--workers", "0", *options])


def rows_of(folder):
    with (folder / "cases.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def expected_dice(values):
    """Of case_0, without the voxels that nobody annotated."""
    first, second = boxes(first=4), boxes(first=4, shift=1)
    first[:2] = second[:2] = 0
    inside = np.isin(first, values), np.isin(second, values)
    return 2 * (inside[0] & inside[1]).sum() / (inside[0].sum() + inside[1].sum())


@pytest.mark.parametrize(
    ("folder", "description", "dataset"),
    [
        ("labelsTr", "labelsTr/dataset.json", None),
        ("copied/labelsTr", "copied/dataset.json", "msd"),
        ("Dataset001_X/gt_segmentations", "Dataset001_X/dataset.json", None),
        ("Dataset001_X/gt_segmentations", "Dataset001_X/dataset.json", "nnunet"),
        ("annotations", "annotations/dataset.json", "folder"),
    ],
)
def test_regions_and_ignored_voxels_without_any_scan(
    move, tmp_path, capsys, folder, description, dataset
):
    predictions, labels = move(folder)
    (tmp_path / description).write_text(json.dumps(REGIONS))
    assert evaluate(predictions, labels, *(("--dataset", dataset) if dataset else ())) == 0
    rows = {row["region"]: row for row in rows_of(predictions) if row["case"] == "case_0"}
    assert list(rows) == ["whole_tumour", "core"]
    assert float(rows["whole_tumour"]["dice"]) == pytest.approx(expected_dice((1, 2)))
    assert float(rows["core"]["dice"]) == pytest.approx(expected_dice((2,)))
    assert f"labels are named by {tmp_path / description}" in capsys.readouterr().err
    assert str(tmp_path / description) in (predictions / "report.html").read_text()


@pytest.mark.parametrize("dataset", [None, "msd", "nnunet"])
@pytest.mark.parametrize("place", ["labelsTr", ""])
def test_a_decathlon_folder_without_its_images(move, tmp_path, dataset, place):
    predictions, _ = move("Task03_Liver/labelsTr", ignored=False)
    raw = tmp_path / "Task03_Liver"
    (raw / "dataset.json").write_text(json.dumps(NUMBERED))
    assert evaluate(predictions, raw / place, *(("--dataset", dataset) if dataset else ())) == 0
    rows = rows_of(predictions)
    assert [row["region"] for row in rows] == ["liver", "tumour"] * 3
    if dataset != "nnunet" or place:  # which reads the folder itself, and knows no task
        assert {float(row["tolerance_mm"]) for row in rows} == {7.0}


def test_a_folder_of_images_that_holds_none_of_the_cases(move, tmp_path, write_labels):
    predictions, labels = move("raw/labelsTr")
    (tmp_path / "raw" / "imagesTr").mkdir()
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(REGIONS))
    assert evaluate(predictions, labels) == 0
    assert {row["region"] for row in rows_of(predictions)} == {"whole_tumour", "core"}


@pytest.mark.parametrize("content", ["{", "{}", '{"labels": 3}', "[]", '{"labels": {"0": "x"}}'])
def test_a_dataset_json_that_names_no_label_is_said(folders, capsys, content):
    predictions, labels = folders
    (labels / "dataset.json").write_text(content)
    assert evaluate(predictions, labels) == 0
    assert "warning: " in (said := capsys.readouterr().err)
    assert str(labels / "dataset.json") in said
    assert {row["region"] for row in rows_of(predictions)} == {"label_1", "label_2"}
    assert evaluate(predictions, labels, "--dataset", "nnunet") == 2
    assert str(labels / "dataset.json") in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("dataset", ["folder", "msd", "nnunet"])
def test_bare_labels_need_names_or_no_dataset(folders, capsys, dataset):
    predictions, labels = folders
    assert evaluate(predictions, labels, "--dataset", dataset) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert str(labels) in line
    assert "Leave --dataset out" in line
    assert "--labels" in line
    assert evaluate(predictions, labels, "--dataset", dataset, "--labels", "liver=1,tumour=2") == 0
    assert [row["region"] for row in rows_of(predictions)] == ["liver", "tumour"] * 3
    assert evaluate(predictions, labels) == 0
    assert {row["region"] for row in rows_of(predictions)} == {"label_1", "label_2"}


def test_listed_labels_may_be_regions_and_go_before_a_dataset_json(move, capsys):
    predictions, labels = move("labels2")
    (labels / "dataset.json").write_text(json.dumps(REGIONS))
    assert evaluate(predictions, labels, "--labels", "both=1+2,second=2,ignore=3") == 0
    rows = {row["region"]: row for row in rows_of(predictions) if row["case"] == "case_0"}
    assert list(rows) == ["both", "second"]
    assert float(rows["both"]["dice"]) == pytest.approx(expected_dice((1, 2)))
    assert evaluate(predictions, labels, "--labels", "liver") == 2
    assert "liver=1,tumour=2" in capsys.readouterr().err.splitlines()[-1]


PLAN = {
    "dataset": "x", "layout": "folder", "channels": ["CT"], "spacing_mm": [1.0, 1.0, 1.0],
    "patch_voxels": [32, 32, 32], "batch_size": 2, "labels": {"liver": 1, "tumour": 2},
    "regions": {"whole": [1, 2], "tumour": [2]}, "ignore": None, "region_training": False,
    "region_values": [], "tolerance_mm": {"tumour": 2.5},
    "normalisation": [{"scheme": "ct", "lower": 0.0, "upper": 1.0, "mean": 0.5, "std": 1.0}],
}  # fmt: skip


def test_labels_by_a_plan(folders, tmp_path, capsys):
    predictions, labels = folders
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(PLAN))
    assert evaluate(predictions, labels, "--plan", str(plan), "--dataset", "folder") == 0
    tolerance = {row["region"]: float(row["tolerance_mm"]) for row in rows_of(predictions)}
    assert tolerance == {"whole": 1.0, "tumour": 2.5}
    plan.write_text(json.dumps(PLAN | {"regions": {"whole": [1, 5]}}))
    assert evaluate(predictions, labels, "--plan", str(plan)) == 2
    assert "regions.whole" in capsys.readouterr().err
    assert evaluate(predictions, labels, "--plan", str(plan), "--labels", "liver=1") == 2


RECORD = {
    "labels": {"liver": 1, "tumour": 2}, "regions": {"whole": [1, 2], "tumour": [2]},
    "ignore": None, "region_training": False,
}  # fmt: skip


@pytest.mark.parametrize("dataset", ["folder", "nnunet"])
def test_labels_by_the_record_of_the_predictions(folders, dataset):
    predictions, labels = folders
    (predictions / "predict.json").write_text(json.dumps({"provenance": {"label_set": RECORD}}))
    assert evaluate(predictions, labels, "--dataset", dataset) == 0
    assert [row["region"] for row in rows_of(predictions)] == ["whole", "tumour"] * 3
    (labels / "dataset.json").write_text(json.dumps({"labels": {"1": "a", "2": "b"}}))
    assert evaluate(predictions, labels) == 0  # what the annotators say goes first
    assert {row["region"] for row in rows_of(predictions)} == {"a", "b"}


def test_annotators_may_know_more_than_the_network(folders):
    predictions, labels = folders
    record = {**RECORD, "labels": {"liver": 1}, "regions": {"liver": [1]}}
    (predictions / "predict.json").write_text(json.dumps({"provenance": {"label_set": record}}))
    assert evaluate(predictions, labels) == 0
    assert {row["region"] for row in rows_of(predictions)} == {"label_1", "label_2"}


@pytest.mark.parametrize("record", [{}, [], {"provenance": {"label_set": {"labels": 3}}}, 7])
def test_a_record_that_knows_no_labels_is_none(folders, record):
    predictions, labels = folders
    (predictions / "predict.json").write_text(json.dumps(record))
    assert evaluate(predictions, labels) == 0
    assert {row["region"] for row in rows_of(predictions)} == {"label_1", "label_2"}
