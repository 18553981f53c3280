import csv
from math import inf

import numpy as np
import pytest

from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.foundation.errors import DatasetError, FailedCases, SettingsError
from mednext_cli.settings.labels import LabelSet
from tests.evaluation.conftest import AFFINE, boxes

LABELS = LabelSet(
    {"left": 1, "right": 2},
    {"both": (1, 2), "right": (2,)},
    tolerance_mm={"right": 2.5},
)


def rows_of(folder, name="cases.csv"):
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_dice_of_shifted_boxes_and_files(folders, tmp_path):
    predictions, labels = folders
    result = evaluate(EvaluateSpec(predictions, labels, out=tmp_path / "out", workers=0))
    rows = rows_of(tmp_path / "out")
    assert [(row["case"], row["region"]) for row in rows[:2]] == [
        ("case_0", "label_1"),
        ("case_0", "label_2"),
    ]
    # Boxes of n voxels shifted by one: the overlap is n - 1.
    assert [float(row["dice"]) for row in rows] == pytest.approx(
        [3 / 4, 2 / 3, 4 / 5, 2 / 3, 5 / 6, 2 / 3]
    )
    assert float(rows[0]["hd100_mm"]) == pytest.approx(2.0)
    assert float(rows[0]["volume_reference_ml"]) == pytest.approx(4 * 6 * 4 * 1.5 / 1000)
    assert result.mean("dice", "label_1") == pytest.approx((3 / 4 + 4 / 5 + 5 / 6) / 3)
    assert {path.name for path in result.folder.iterdir()} == {
        "cases.csv",
        "summary.csv",
        "report.html",
    }


def test_numbers_survive_the_file(folders):
    predictions, labels = folders
    result = evaluate(EvaluateSpec(predictions, labels, workers=0, report=False))
    for row, score in zip(rows_of(predictions), result.scores, strict=True):
        assert {name: float(row[name]) for name in score.values} == dict(score.values)
    summary = rows_of(predictions, "summary.csv")
    assert float(summary[0]["mean"]) == result.summary[0].mean


def test_mapping_and_label_set_as_training_gives_them(folders):
    predictions, labels = folders
    paths = {"case_1": labels / "case_1.nii.gz"}
    result = evaluate(EvaluateSpec(predictions, paths, label_set=LABELS, workers=0, report=False))
    assert result.regions == ("both", "right")
    assert [score.tolerance_mm for score in result.scores] == [1.0, 2.5]
    assert result.extra == ("case_0", "case_2")
    # The shift of 2 mm is within the tolerance of the one region, not of the other.
    assert result.mean("surface_dice", "right") == 1.0
    assert result.mean("surface_dice", "both") < 1.0


@pytest.mark.slow
def test_processes_give_the_same_files(folders, tmp_path):
    predictions, labels = folders
    for workers in (0, 2):
        evaluate(EvaluateSpec(predictions, labels, tmp_path / str(workers), workers=workers))
    for name in ("cases.csv", "summary.csv", "report.html"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_missing_prediction_is_scored_as_the_worst_or_dropped(folders, caplog):
    predictions, labels = folders
    (predictions / "case_1.nii.gz").unlink()
    result = evaluate(EvaluateSpec(predictions, labels, workers=0, report=False))
    worst = [score for score in result.scores if score.case == "case_1"]
    assert [score.status for score in worst] == ["missing_prediction"] * 2
    assert [score.values["dice"] for score in worst] == [0.0, 0.0]
    assert [score.values["hd95_mm"] for score in worst] == [inf, inf]
    assert result.mean("dice", "label_2") == pytest.approx((2 / 3 + 2 / 3) / 3)
    assert result.missing == ("case_1",)
    dropped = evaluate(EvaluateSpec(predictions, labels, workers=0, report=False, missing="drop"))
    assert {score.case for score in dropped.scores} == {"case_0", "case_2"}


def test_label_absent_from_one_case_is_a_row_of_it(folders, write_labels):
    predictions, labels = folders
    for folder in folders:
        array = boxes()
        array[array == 2] = 0
        write_labels(folder / "case_1.nii.gz", array)
    result = evaluate(EvaluateSpec(predictions, labels, workers=0, report=False))
    row = next(one for one in result.scores if (one.case, one.region) == ("case_1", "label_2"))
    assert row.empty == "both_empty"
    assert np.isnan(row.values["dice"])
    assert result.mean("dice", "label_2") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("shape", "its shape is 12 x 14 x 9, not 12 x 14 x 10"),
        ("affine", "its corners lie up to 0.5 voxels (0.25 mm) away"),
        ("labels", "label values the dataset does not know: 7. Known: 0, 1, 2"),
        ("fraction", "not a whole number"),
        ("4d", "is not 3D"),
        ("truncated", "damaged"),
    ],
)
def test_one_bad_prediction_fails_alone(folders, write_labels, spoil, reason):
    predictions, labels = folders
    path = predictions / "case_1.nii.gz"
    moved = AFFINE.copy()
    moved[0, 3] += 0.25
    good = boxes(shift=1)
    if spoil == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        array, affine = {
            "shape": (good[..., :9], AFFINE),
            "affine": (good, moved),
            "labels": (np.where(good == 2, 7, good).astype(np.uint8), AFFINE),
            "fraction": (good + np.float32(0.5), AFFINE),
            "4d": (np.stack([good, good], axis=-1), AFFINE),
        }[spoil]
        write_labels(path, array, affine)
    result = evaluate(EvaluateSpec(predictions, labels, label_set=LABELS, workers=0, report=False))
    assert list(result.failed) == ["case_1"]
    said = result.failed["case_1"].error or ""
    assert reason in said
    assert str(path) in said
    statuses = [row["status"] for row in rows_of(predictions)]
    assert statuses == ["ok", "ok", "failed", "failed", "ok", "ok"]
    assert result.mean("dice", "right") == pytest.approx(2 / 3)
    with pytest.raises(FailedCases, match="1 of 3 cases failed: case_1"):
        result.raise_failed()


def test_affine_within_tolerance_and_whole_floats_are_accepted(folders, write_labels):
    predictions, labels = folders
    moved = AFFINE.copy()
    moved[0, 3] += 0.0005
    write_labels(predictions / "case_1.nii.gz", boxes(5, shift=1).astype(np.float64), moved)
    result = evaluate(EvaluateSpec(predictions, labels, workers=0, report=False))
    assert not result.failed
    assert result.mean("dice", "label_2") == pytest.approx(2 / 3)


def test_nothing_is_written_when_all_fail(folders, tmp_path):
    predictions, labels = folders
    for path in predictions.iterdir():
        path.write_bytes(b"no scan")
    with pytest.raises(FailedCases, match="3 of 3"):
        evaluate(EvaluateSpec(predictions, labels, tmp_path / "out", workers=0))
    assert not (tmp_path / "out").exists()


def test_maps_without_any_label_say_so(tmp_path, write_labels):
    for name in "pl":
        write_labels(tmp_path / name / "a.nii.gz", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(DatasetError, match="hold any label"):
        evaluate(EvaluateSpec(tmp_path / "p", tmp_path / "l", workers=0))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tolerance_mm": -1.0}, "tolerance of -1.0 mm"),
        ({"tolerance_mm": float("nan")}, "tolerance of nan mm"),
        ({"missing": "skip"}, "--missing skip. Known: drop, worst"),
        ({"empty_policy": "brats_21"}, "--empty-policy brats_21. Did you mean brats21"),
        ({"protocol": "paper"}, "--protocol paper. Known: mednext"),
        ({"hd95": "medpi"}, "--hd95 medpi. Did you mean medpy"),
        ({"lesions": "dice"}, "--lesions dice. Known: any, iou"),
    ],
)
def test_settings_without_meaning_are_refused(folders, settings, reason):
    with pytest.raises(SettingsError, match=reason):
        evaluate(EvaluateSpec(*folders, **settings))
