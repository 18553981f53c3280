"""Which checkpoints a model's path stands for, and what is said of folds that are not there."""

import json
from pathlib import Path

import numpy as np
import pytest

from mednext_cli import Predictor
from mednext_cli.app import main
from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.settings.training import TrainingSettings
from tests.inference.synthetic import RECIPE, predict, save_model

Capture = pytest.CaptureFixture[str]
ONE = ("--cases", "oblique", "--overlap", "0")


def make_fold(folder: Path, *names: str, finished: bool = True, folds: int = 3) -> None:
    """A run folder with these checkpoints, each of other weights."""
    folder.mkdir(parents=True)
    recipe = RECIPE.model_copy(update={"training": TrainingSettings(epochs=1, folds=folds)})
    for seed, name in enumerate(names, start=len(str(folder))):
        path = folder / f"checkpoint_{name}.pt"
        save_model(path, seed, finished=finished and name == "last", recipe=recipe)


def used(out: Path) -> list[str]:
    models = json.loads((out / "predict.json").read_text())["provenance"]["models"]
    return ["/".join(Path(path).parts[-2:]) for path in models]


def test_a_finished_run_gives_its_last_and_an_unfinished_its_best_checkpoint(
    scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    for finished, expected in ((True, "last"), (False, "best")):
        run, out = tmp_path / expected / "fold0", tmp_path / "out" / expected
        make_fold(run, "best", "last", finished=finished)
        assert predict(scans, out, run, options=ONE) == 0
        assert used(out) == [f"fold0/checkpoint_{expected}.pt"]
        assert ("is not finished: its best checkpoint" in capsys.readouterr().err) != finished


def test_all_folds_are_averaged(scans: Path, tmp_path: Path) -> None:
    for fold in range(3):
        make_fold(tmp_path / "S-k3" / f"fold{fold}", "best", "last")
    assert predict(scans, tmp_path / "out", tmp_path / "S-k3", options=ONE) == 0
    assert used(tmp_path / "out") == [f"fold{fold}/checkpoint_last.pt" for fold in range(3)]


@pytest.mark.slow
def test_missing_and_unfinished_folds_are_named_and_chosen_by_hand(
    scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    model, out = tmp_path / "S-k3", tmp_path / "out"
    make_fold(model / "fold0", "best", "last", folds=4)
    (model / "fold1").mkdir()
    make_fold(model / "fold2", "best", "last", finished=False, folds=4)
    assert predict(scans, out, model, options=ONE) == 2
    error = capsys.readouterr().err
    for text in ("fold1 has no checkpoint", "fold3 has no checkpoint", "fold2 is not finished"):
        assert text in error
    assert "--folds 0,2" in error
    assert not out.exists()
    assert predict(scans, out, model, options=(*ONE, "--folds", "0,2")) == 0
    assert used(out) == ["fold0/checkpoint_last.pt", "fold2/checkpoint_best.pt"]
    assert "fold2 is not finished" in capsys.readouterr().err
    assert predict(scans, tmp_path / "one", model, options=(*ONE, "--folds", "0")) == 0
    assert used(tmp_path / "one") == ["fold0/checkpoint_last.pt"]


def test_the_run_on_all_cases_is_no_fold(scans: Path, tmp_path: Path, capsys: Capture) -> None:
    model = tmp_path / "S-k3"
    make_fold(model / "foldall", "last", folds=2)
    assert predict(scans, tmp_path / "alone", model, options=ONE) == 0
    assert used(tmp_path / "alone") == ["foldall/checkpoint_last.pt"]
    for fold in range(2):
        make_fold(model / f"fold{fold}", "last", folds=2)
    assert predict(scans, tmp_path / "folds", model, options=ONE) == 0
    assert len(used(tmp_path / "folds")) == 2
    assert "foldall is left out; --folds all" in capsys.readouterr().err
    assert predict(scans, tmp_path / "all", model, options=(*ONE, "--folds", "all")) == 0
    assert used(tmp_path / "all") == ["foldall/checkpoint_last.pt"]


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        ("7", "fold7 has no checkpoint. There is fold0."),
        ("\N{SUPERSCRIPT TWO}", "names no folds"),
        ("0,,1", "names no folds"),
        ("../fold0", "names no folds"),
    ],
)
def test_folds_that_are_none_end_in_one_line(
    scans: Path, tmp_path: Path, capsys: Capture, folds: str, expected: str
) -> None:
    make_fold(tmp_path / "S-k3" / "fold0", "last", folds=2)
    options = ("--folds", folds)
    assert predict(scans, tmp_path / "out", tmp_path / "S-k3", options=options) == 2
    assert expected in capsys.readouterr().err


def test_a_single_run_has_no_folds_to_choose(scans: Path, model: Path, capsys: Capture) -> None:
    assert predict(scans, scans.parent / "out", model, options=("--folds", "0")) == 2
    assert "--folds is for a folder of folds" in capsys.readouterr().err


@pytest.mark.parametrize("overlap", ["0.9999999", "nan", "1.0", "-0.1", "inf"])
def test_overlaps_without_end_are_refused(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture, overlap: str
) -> None:
    assert predict(scans, tmp_path / "out", model, options=("--overlap", overlap)) == 2
    assert "overlap" in capsys.readouterr().err


def test_a_checkpoint_is_named_where_a_folder_has_none(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "S-k3" / "fold0").mkdir(parents=True)
    words = ["predict", str(tmp_path), "--model", str(tmp_path / "S-k3"), "--out", "none"]
    assert main(words) == 2
    assert "S-k3 holds no checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_a_predictor_of_some_folds(scans: Path, tmp_path: Path) -> None:
    model = tmp_path / "S-k3"
    make_fold(model / "fold0", "best", "last", folds=3)
    make_fold(model / "fold1", "last", folds=3)  # other weights than fold0's
    scan = scans / "anisotropic.nii.gz"
    with pytest.raises(CheckpointError, match="fold2 has no checkpoint"):
        Predictor(model, device="cpu")
    alone = Predictor(model / "fold1", device="cpu")(scan, probabilities=True)
    chosen = Predictor(model, folds=("1",), device="cpu")(scan, probabilities=True)
    both = Predictor(model, folds=("0", "1"), device="cpu")(scan, probabilities=True)
    np.testing.assert_array_equal(chosen.probabilities, alone.probabilities)
    assert (both.probabilities != alone.probabilities).any()
