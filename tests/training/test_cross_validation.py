"""Folds in turn, kernels in turn: what is trained, what is told, and what a failure leaves."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.foundation.errors import MednextError, StorageError
from mednext_cli.networks.choice import choose_network
from mednext_cli.settings.recipe_files import write_recipe
from mednext_cli.training import cross_validation, validate
from mednext_cli.training.cross_validation import TABLE
from mednext_cli.training.fold_scores import compare_folds
from mednext_cli.training.run_folder import BEGINNING
from mednext_cli.training.train import TrainResult, TrainSpec, check_run
from tests.training.synthetic import NAME, arguments

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
_DICE = {"0": (0.8, 0.6), "1": (0.4, 0.2)}  # of two cases, by fold


def _write_cases(folder: Path, dice: tuple[float, ...], fold: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{fold}{index},{region},{value}"
        for index, value in enumerate(dice)
        for region, value in (("organ", value), ("lesion", "nan" if index else value / 2))
    ]
    (folder / "cases.csv").write_text("\n".join(["case,region,dice", *rows]) + "\n")


def _write_log(folder: Path, epochs: int) -> None:
    rows = ["dice_moving,seconds", *(f"0.5,{epoch + 1}" for epoch in range(epochs))]
    (folder / "log.csv").write_text("\n".join(rows) + "\n")


class Trained:
    """Trains nothing: notes what was asked for, and leaves scores.

    Args:
        errors: what a fold raises, by name of network and fold.
    """

    def __init__(self, errors: dict[str, Exception]) -> None:
        self.specs: dict[str, TrainSpec] = {}
        self._errors = errors

    def __call__(self, spec: TrainSpec) -> TrainResult:
        folder = check_run(spec).path
        name = f"{folder.parent.name}/{folder.name}"
        self.specs[name] = spec
        if name in self._errors:
            raise self._errors[name]
        dice = _DICE.get(spec.fold)
        started = [] if spec.init is None else [f"{BEGINNING} 0123"]
        write_recipe(folder / "recipe.toml", spec.recipe, started)
        _write_log(folder, spec.recipe.training.epochs)
        if dice is not None:
            _write_cases(folder / "validation", dice, spec.fold)
            note = {"cases": {f"{spec.fold}{index}": "" for index in range(len(dice))}}
            (folder / "validation" / "made_by.json").write_text(json.dumps(note))
        return TrainResult(folder, 60.0, {"organ": sum(dice) / 2} if dice else {})


@pytest.fixture
def trained(monkeypatch: Patch) -> Callable[..., Trained]:
    """Put a `Trained` in the place of training."""

    def replaced(**errors: Exception) -> Trained:
        one = Trained({name.replace("_", "/"): error for name, error in errors.items()})
        monkeypatch.setattr(cross_validation, "train", one)
        return one

    return replaced


def _table(runs: Path, network: str = "S-k3-w4") -> list[dict[str, str]]:
    with (runs / NAME / network / "cross_validation.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_dice_by_region_and_fold_with_mean_and_spread(tmp_path: Path) -> None:
    for fold, dice in _DICE.items():
        _write_cases(tmp_path / fold, dice, fold)
    organ, lesion, overall = compare_folds({fold: tmp_path / fold for fold in _DICE})
    assert organ.dice == pytest.approx({"0": 0.7, "1": 0.3})
    assert organ.mean == pytest.approx(0.5)
    assert organ.standard_deviation_folds == pytest.approx(0.4 / math.sqrt(2))
    assert organ.standard_deviation_cases == pytest.approx(math.sqrt(0.2 / 3))
    assert (organ.cases, lesion.cases) == (4, 2)
    assert lesion.dice == pytest.approx({"0": 0.4, "1": 0.2})
    assert overall.region == "overall"
    assert overall.dice == pytest.approx({"0": 0.55, "1": 0.25})
    assert overall.mean_cases == pytest.approx((0.5 + 0.3) / 2)


def test_all_folds_in_turn_end_with_a_table(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    one = trained()
    assert main(arguments(boxes, tmp_path, "--fold", "cv")) == 0
    assert list(one.specs) == ["S-k3-w4/fold0", "S-k3-w4/fold1"]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split("\t")[:4] == ["region", "fold0", "fold1", "mean"]
    assert shown[1].split("\t")[:4] == ["organ", "0.7", "0.3", "0.5"]
    assert shown[-1].endswith(f"--model {tmp_path / NAME / 'S-k3-w4'} --out predictions/")
    assert [row["region"] for row in _table(tmp_path)] == ["organ", "lesion", "overall"]
    assert main(arguments(boxes, tmp_path, "--fold", "1,0")) == 0
    assert "--folds 1,0" in capsys.readouterr().out.splitlines()[-1]


def test_folds_that_are_finished_already_stay_in_the_table(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    """As a list of folds after all of them, or one job a fold, would lose them."""
    one = trained()
    three = ("--set", "training.folds=3")
    assert main(arguments(boxes, tmp_path, "--fold", "cv", *three)) == 0
    whole = _table(tmp_path)
    one.specs.clear()
    assert main(arguments(boxes, tmp_path, "--fold", "2,1", *three)) == 0
    assert list(one.specs) == ["S-k3-w4/fold2", "S-k3-w4/fold1"]
    assert _table(tmp_path) == whole
    capsys.readouterr()
    changed = (*three, "--set", "training.learning_rate=1e-5")
    assert main(arguments(boxes, tmp_path, "--fold", "1,2", *changed)) == 0
    assert "fold 0 has another recipe" in capsys.readouterr().err
    assert "dice_fold0" not in _table(tmp_path)[0]


def test_folds_one_by_one_come_to_the_table_of_all(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    trained()
    runs = {name: tmp_path / name for name in ("together", "alone")}
    assert main(arguments(boxes, runs["together"], "--fold", "cv")) == 0
    tables = {name: folder / NAME / "S-k3-w4" / TABLE for name, folder in runs.items()}
    assert main(arguments(boxes, runs["alone"], "--fold", "1")) == 0
    assert not tables["alone"].exists()
    capsys.readouterr()
    assert main(arguments(boxes, runs["alone"], "--fold", "0")) == 0
    assert f"{tables['alone']}: this fold and those" in capsys.readouterr().out
    assert tables["alone"].read_bytes() == tables["together"].read_bytes()
    assert main(arguments(boxes, runs["alone"], "--fold", "all")) == 0
    assert tables["alone"].read_bytes() == tables["together"].read_bytes()
    changed = ("--restart", "--set", "training.learning_rate=1e-5")
    assert main(arguments(boxes, runs["alone"], "--fold", "0", *changed)) == 0
    (row, *_) = _table(runs["alone"])
    assert [name for name in row if name.startswith("dice_fold")] == ["dice_fold0"]


def test_folds_that_are_not_finished_or_began_otherwise_stay_out_of_the_table(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    trained()
    three = ("--set", "training.folds=3")
    assert main(arguments(boxes, tmp_path, "--fold", "cv", *three)) == 0
    first = tmp_path / NAME / "S-k3-w4" / "fold0"

    def columns(*options: str) -> list[str]:
        assert main(arguments(boxes, tmp_path, "--fold", "1,2", *three, *options)) == 0
        return [name for name in _table(tmp_path)[0] if name.startswith("dice_fold")]

    assert columns() == ["dice_fold0", "dice_fold1"]
    capsys.readouterr()
    assert columns("--init", str(first)) == ["dice_fold1"]
    assert "fold 0 has another recipe" in capsys.readouterr().err
    note = first / "validation" / "made_by.json"
    whole = note.read_text()
    note.write_text(json.dumps({"cases": {"00": "", "01": "", "failed": ""}}))
    assert columns() == ["dice_fold1"]
    note.write_text(whole)
    _write_log(first, 1)  # as one that is extended: its scores are those of before
    assert columns() == ["dice_fold1"]
    assert "fold 0 is not finished" in capsys.readouterr().err


def test_a_fold_that_fails_does_not_lose_the_others(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    trained(**{"S-k3-w4_fold0": MednextError("it is dark", "Light a candle.")})
    assert main(arguments(boxes, tmp_path, "--fold", "cv")) == 2
    said = capsys.readouterr()
    assert "S-k3-w4/fold0: it is dark. Light a candle." in said.err
    assert "1 of 2 folds failed: S-k3-w4/fold0. The others are finished." in said.err
    assert "--folds 1" in said.out
    (row, *_) = _table(tmp_path)
    assert "dice_fold0" not in row
    assert (row["dice_fold1"], row["standard_deviation_folds"]) == ("0.3", "nan")
    trained(**{"S-k3-w4_fold0": ZeroDivisionError("ours")})
    assert main(arguments(boxes, tmp_path, "--fold", "cv")) == 1


def test_a_fold_that_another_process_trains_is_left_to_it_but_a_full_disk_ends_all(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    one = trained(**{"S-k3-w4_fold0": StorageError("another run works here")})
    assert main(arguments(boxes, tmp_path, "--fold", "cv")) == 2
    assert len(one.specs) == 2
    one = trained(**{"S-k3-w4_fold0": StorageError("the disk is full", number=28)})
    assert main(arguments(boxes, tmp_path, "--fold", "cv")) == 2
    assert len(one.specs) == 1
    assert "folds failed" not in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--fold", "0,7"], "there is no fold 7 of 2"),
        (["--fold", "cv", "--set", "training.patch_voxels=[20, 32, 32]"], "divisible by 8"),
        (["--fold", "cv", "--set", "training.cases=3"], "training.cases = 3"),
        (["--kernel", "3,4"], "kernel 4 is not possible"),
        (["--kernel", "5,3"], "kernels 5, 3 do not grow"),
        (["--kernel", "3,x"], "'x' is not a kernel"),
        (["--kernel", "3,5", "--network", "unetr"], "--kernel"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    boxes: Path,
    tmp_path: Path,
    trained: Callable[..., Trained],
    capsys: Captured,
    options: list[str],
    expected: str,
) -> None:
    one = trained()
    assert main(arguments(boxes, tmp_path, *options)) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not one.specs


def test_each_kernel_begins_from_the_one_before_in_the_same_fold(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    one = trained(**{"S-k5-w4_fold1": MednextError("it is dark")})
    options = ["--kernel", "3,5,7", "--fold", "cv", "--init", "first.pt"]
    assert main(arguments(boxes, tmp_path, *options)) == 2
    assert list(one.specs) == [
        *("S-k3-w4/fold0", "S-k3-w4/fold1", "S-k5-w4/fold0", "S-k5-w4/fold1", "S-k7-w4/fold0"),
    ]
    assert "1 of 6 folds failed: S-k5-w4/fold1" in capsys.readouterr().err
    first, grown = one.specs["S-k3-w4/fold0"], one.specs["S-k7-w4/fold0"]
    assert (first.init, first.recipe.init.path) == (Path("first.pt"), None)
    assert grown.init is None
    assert grown.recipe.init.upkern == str(tmp_path / NAME / "S-k5-w4")
    assert grown.recipe.init.growth == "trilinear"
    assert choose_network(grown.recipe.model).label == "S-k7-w4"


def test_one_fold_or_all_cases_grow_without_a_table(
    boxes: Path, tmp_path: Path, trained: Callable[..., Trained], capsys: Captured
) -> None:
    one = trained()
    assert main(arguments(boxes, tmp_path, "--kernel", "3,5", "--fold", "all")) == 0
    assert list(one.specs) == ["S-k3-w4/foldall", "S-k5-w4/foldall"]
    assert "S-k5-w4/foldall: trained for" in capsys.readouterr().out
    assert not list(tmp_path.rglob("cross_validation*.csv"))


@pytest.mark.slow
def test_kernels_and_folds_are_trained_for_real_and_read_again_when_finished(
    boxes: Path, tmp_path: Path, monkeypatch: Patch, capsys: Captured
) -> None:
    short = ("training.epochs=1", "training.iterations_per_epoch=1")
    options = ["--kernel", "3,5", "--fold", "cv"]
    assert main(arguments(boxes, tmp_path, *options, settings=short)) == 0
    assert "kernels 3 grown to 5 (trilinear)" in capsys.readouterr().err
    tables = [(tmp_path / NAME / f"S-k{k}-w4" / "cross_validation.csv") for k in (3, 5)]
    before = [path.read_bytes() for path in tables]
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint_last.pt")}
    assert len(weights) == 4
    monkeypatch.setattr(validate, "evaluate", None)  # nothing is scored again
    assert main(arguments(boxes, tmp_path, *options, settings=short)) == 0
    assert [path.read_bytes() for path in tables] == before
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
