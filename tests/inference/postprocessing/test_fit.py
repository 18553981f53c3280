"""Fitting on made-up validation cases whose errors are known."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.inference.findings.files import CaseFiles
from mednext_cli.inference.postprocessing.choosing import choose, dice, mean_dice
from mednext_cli.inference.postprocessing.steps import FILE_NAME, load_postprocessing
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.inference.synthetic import predict, save_model

AFFINE = np.array([[0, -0.8, 0, 5], [1.1, 0, 0, -9], [0, 0.2, 3.0, 7], [0, 0, 0, 1.0]])
NAMES = "liver=1,tumour=2"


def write(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), AFFINE), path)


def reference_of(index: int) -> np.ndarray:
    made = np.zeros((24, 22, 20), np.uint8)
    made[3:14, 3 + index % 3 : 15, 4:15] = 1
    made[5:7, 8:10, 6:8] = 2
    made[10:12, 8:10, 9:11] = 2
    return made


def predicted_of(reference: np.ndarray, index: int) -> np.ndarray:
    """Liver with an island and a hole; both tumours are found, which is not the largest alone."""
    made = reference.copy()
    made[18:21, 17:20, 14 : 17 + index % 2] = 1
    made[9, 6, 12] = 0
    return made


@pytest.fixture
def cases(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and labels."""
    description = {"labels": {"background": 0, "liver": 1, "tumour": 2}, "file_ending": ".nii.gz"}
    for index in range(6):
        reference = reference_of(index)
        write(tmp_path / "labels" / f"c{index}.nii.gz", reference)
        write(tmp_path / "made" / f"c{index}.nii.gz", predicted_of(reference, index))
    channels = {"channel_names": {"0": "CT"}, "numTraining": 6}
    (tmp_path / "labels" / "dataset.json").write_text(json.dumps(description | channels))
    return tmp_path / "made", tmp_path / "labels"


def fit(predictions: Path, labels: Path, *options: str) -> int:
    call = ["postprocess", "fit", str(predictions), str(labels), "--workers", "0", *options]
    return main(call)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_what_helps_is_kept_and_what_harms_is_not(cases: tuple[Path, Path]) -> None:
    predictions, labels = cases
    assert fit(predictions, labels) == 0
    made = load_postprocessing(predictions / FILE_NAME)
    told = [(step.structure, step.operation) for step in made.steps]
    assert told == [("foreground", "largest_component"), ("liver", "fill_holes")]
    rows = {
        (row["structure"], row["operation"]): row
        for row in rows_of(predictions / "postprocessing.csv")
    }
    assert rows["tumour", ""]["kept"] == "0"
    whole = rows["all", "largest_component, fill_holes"]
    assert float(whole["dice_after"]) == 1.0  # every error was of these kinds
    expected = []
    for index in range(6):
        reference = reference_of(index)
        predicted = predicted_of(reference, index)
        both = ((reference == 1) & (predicted == 1)).sum()
        expected.append(2 * both / ((reference == 1).sum() + (predicted == 1).sum()))
    assert float(whole["dice_before"]) == pytest.approx((np.mean(expected) + 1) / 2, rel=1e-6)
    assert whole["changed_cases"] == "6"


def test_an_island_that_is_right_as_often_as_wrong_stays(tmp_path: Path) -> None:
    """In each left-out group the rest choose, and here the rest are wrong about it."""
    both, reference, predicted = 90, 100, 100
    regions = np.array([[[both, reference, predicted]]] * 2)
    changes = np.array([[[[0, -10]]], [[[-20, -20]]]])  # removal helps one case, harms the other
    choice = choose(regions, changes, groups=[0, 1])
    assert not choice.kept
    assert choice.left_out < choice.before


def test_a_step_is_kept_where_the_left_out_agree() -> None:
    regions = np.array([[[90, 100, 110]]] * 4)
    changes = np.array([[[[0, -10]], [[0, -15]], [[-9, -20]]]] * 4)
    choice = choose(regions, changes, groups=[0, 0, 1, 1])
    assert (choice.candidate, choice.kept, choice.changed_cases) == (1, True, 4)
    assert choice.after == choice.left_out == pytest.approx(180 / 195)


def test_no_region_pays_for_another() -> None:
    regions = np.array([[[50, 100, 100], [90, 100, 100]]] * 4)
    changes = np.array([[[[0, -40], [-1, -1]]]] * 4)
    choice = choose(regions, changes, groups=[0, 1, 2, 3])
    assert choice.after > choice.before
    assert not choice.kept


def test_a_region_in_neither_map_is_undefined() -> None:
    scores = dice(np.array([[[0, 0, 0], [5, 10, 10]], [[0, 0, 4], [10, 10, 10]]]))
    np.testing.assert_array_equal(scores, [[np.nan, 0.5], [0.0, 1.0]])
    assert mean_dice(scores) == pytest.approx((0.0 + 0.75) / 2)


def test_label_maps_that_were_treated_are_refused(
    cases: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    predictions, labels = cases
    record = {"settings": {"postprocessing": []}, "provenance": {}}
    (predictions / "predict.json").write_text(json.dumps(record))
    assert fit(predictions, labels) == 2
    assert "Predict with --no-postprocess" in capsys.readouterr().err


def test_one_case_is_too_few(cases: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    predictions, labels = cases
    for index in range(1, 6):
        (predictions / f"c{index}.nii.gz").unlink()
    assert fit(predictions, labels) == 2
    assert "too few to check" in capsys.readouterr().err


@pytest.fixture
def by_brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(
        NetworkEngine, "__call__", lambda _, one: torch.cat([0 * one, one, -one - 0.5], dim=1)
    )


@pytest.mark.usefixtures("by_brightness")
def test_predict_applies_what_is_stored_with_the_model(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    model = save_model(run / "checkpoint_last.pt", 0, finished=True)
    plain = ("--no-postprocess",)
    steps = [{"structure": "tumour", "values": [4], "operation": "largest_component"}]
    content = {"labels": {"kidney": 1, "tumour": 4}, "steps": steps}
    (run / FILE_NAME).write_text(json.dumps(content))
    assert predict(scans, tmp_path / "plain", model, options=plain) == 0
    assert predict(scans, out, model) == 0
    before = np.asarray(nib.load(tmp_path / "plain" / "oblique.nii.gz").dataobj)
    after = np.asarray(nib.load(out / "oblique.nii.gz").dataobj)
    gone = before != after
    assert gone.any()
    assert set(before[gone]) == {4}
    assert set(after[gone]) == {0}
    rows = {row["case"]: row for row in rows_of(out / "postprocessed.csv")}
    assert set(rows) == {"anisotropic", "oblique", "swapped"}
    assert int(rows["oblique"]["voxels"]) == gone.sum()
    assert CaseFiles(out, "oblique").changes.is_file()
    capsys.readouterr()
    assert predict(scans, out, model, options=plain) == 2
    assert "made with other postprocessing" in capsys.readouterr().err
