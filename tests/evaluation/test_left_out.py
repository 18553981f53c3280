"""What `mednext predict --only` left out is not scored as missed."""

import csv
import json

import pytest

from mednext_cli.app import main
from tests.evaluation.conftest import boxes

LABELS = {"liver": 1, "tumour": 2}


@pytest.fixture
def liver_alone(tmp_path, write_labels):
    """References of both labels; predictions of label 1 alone, and their record."""
    reference = boxes()
    write_labels(tmp_path / "labels" / "a.nii.gz", reference)
    predictions = tmp_path / "predictions"
    write_labels(predictions / "a.nii.gz", reference * (reference == 1))
    record(predictions, ["liver"])
    return predictions, tmp_path / "labels"


def record(predictions, only, labels=LABELS):
    known = {"labels": labels, "regions": {}, "ignore": None, "region_training": False}
    content = {"settings": {"only": only}, "provenance": {"label_set": known}}
    (predictions / "predict.json").write_text(json.dumps(content))


def evaluate(predictions, labels, *options):
    return main(["evaluate", str(predictions), str(labels), "--workers", "0", *options])


def dice(predictions):
    with (predictions / "cases.csv").open(newline="") as stream:
        return {row["region"]: float(row["dice"]) for row in csv.DictReader(stream)}


@pytest.mark.parametrize(
    ("options", "liver", "left_out"),
    [
        (("--labels", "liver=1,tumour=2,whole=1+2"), "liver", "tumour, whole"),
        ((), "label_1", "label_2"),  # where nothing names the labels
    ],
)
def test_only_what_was_kept_is_scored(liver_alone, capsys, options, liver, left_out):
    assert evaluate(*liver_alone, "--summary-json", *options) == 0
    assert dice(liver_alone[0]) == {liver: 1.0}
    said = capsys.readouterr().err
    assert said.count("predict.json: made with --only liver; not scored:") == 1
    assert f"not scored: {left_out}" in said
    summary = json.loads((liver_alone[0] / "summary.json").read_text())
    assert (list(summary["mean"]), summary["foreground_mean"]["Dice"]) == (["1"], 1.0)


def test_values_are_compared_and_not_names(liver_alone):
    """The references call it otherwise, and have another number for it."""
    predictions, labels = liver_alone
    table = labels.parent / "map.toml"
    table.write_text('[labels]\n"1" = 2\n"2" = 1\n')
    assert evaluate(*liver_alone, "--map", str(table), "--labels", "a=1,b=2") == 0
    assert list(dice(predictions)) == ["b"]


def test_a_missing_case_is_missed_in_what_was_kept(liver_alone, write_labels):
    predictions, labels = liver_alone
    write_labels(labels / "b.nii.gz", boxes())
    assert evaluate(*liver_alone, "--labels", "liver=1,tumour=2") == 0
    assert dice(predictions) == {"liver": 0.0}  # of b, the last row
    with (predictions / "cases.csv").open(newline="") as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == ["a", "b"]


def test_nothing_to_score_is_one_line(liver_alone, capsys):
    assert evaluate(*liver_alone, "--labels", "tumour=2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "liver alone were kept" in line
    assert not (liver_alone[0] / "cases.csv").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"settings": {}},
        {"settings": None},
        {"settings": {"only": ["spleen"]}, "provenance": {"label_set": {"labels": LABELS}}},
        {"settings": {"only": ["liver"]}, "provenance": {"label_set": {"labels": {"liver": []}}}},
        [],
    ],
)
def test_a_record_that_does_not_say_leaves_all_to_be_scored(liver_alone, content):
    predictions, _ = liver_alone
    (predictions / "predict.json").write_text(json.dumps(content))
    assert evaluate(*liver_alone) == 0
    assert dice(predictions) == {"label_1": 1.0, "label_2": 0.0}
