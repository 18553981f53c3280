"""An experiment with pretended runs: tables, failures, what is done again and what is not."""

import shutil
from pathlib import Path

import pytest

from mednext_cli.app import main
from tests.experiments.synthetic import (
    ARMS,
    TINY,
    Pretended,
    arguments,
    read_rows,
    write_recipe,
)

DICE = {"k3": 0.7, "k5": 0.8, "longer": 0.75}
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended(DICE)
    monkeypatch.setattr("mednext_cli.experiments.run.run_in_process", pretended)
    return pretended


def test_tables_and_page_of_a_whole_experiment(
    boxes: Path, tmp_path: Path, runs: Pretended, capsys: Capture
) -> None:
    out = tmp_path / "out"
    command = arguments(write_recipe(tmp_path), boxes, out)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert len(runs.done) == 6
    lines = [line.split("\t") for line in shown.splitlines() if line.startswith(tuple(DICE))]
    assert [line[1] for line in lines] == ["2/2"] * 3
    rows = read_rows(out / "experiment.csv")
    assert len(rows) == 6 * 3
    k5 = next(row for row in rows if (row["arm"], row["region"]) == ("k5", "overall"))
    assert float(k5["dice"]) == pytest.approx(0.8, abs=0.01)
    assert (k5["minutes"], k5["charged_minutes"], k5["steps"]) == ("2", "4", "7")
    pairs = [row for row in read_rows(out / "comparison.csv") if row["region"] == "overall"]
    dice = [row for row in pairs if row["metric"] == "dice"]
    assert [(row["arm"], row["against"]) for row in dice] == [
        ("k5", "k3"),
        ("longer", "k3"),
        ("longer", "k5"),
    ]
    assert float(dice[0]["difference"]) == pytest.approx(0.1)
    page = (out / "report.html").read_text()
    assert "Dice against charged minutes" in page
    assert "Dice against multiply-adds" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    runs.done.clear()
    assert main(command) == 0
    assert runs.done == []


def test_what_is_not_run_is_missing_and_never_0(
    boxes: Path, tmp_path: Path, runs: Pretended
) -> None:
    out = tmp_path / "out"
    assert main(arguments(write_recipe(tmp_path), boxes, out, "--arms", "k3")) == 0
    rows = {row["arm"]: row for row in read_rows(out / "experiment.csv")}
    assert rows["longer"]["status"] == "missing"
    assert rows["longer"]["dice"] == "nan"
    assert rows["longer"]["cases"] == ""
    assert "not run" in (out / "report.html").read_text()


def test_a_bad_arm_takes_along_only_what_starts_from_it(
    boxes: Path, tmp_path: Path, runs: Pretended, capsys: Capture
) -> None:
    out, runs.fails["k3"] = tmp_path / "out", "it has no luck. Try again."
    command = arguments(write_recipe(tmp_path), boxes, out)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "4 of 6 runs failed (k3, seed 0, fold 0: it has no luck. Try again" in error
    assert "k5, seed 0, fold 0: k3, seed 0, fold 0, which it starts from, failed" in error
    status = {row["arm"]: row["status"] for row in read_rows(out / "experiment.csv")}
    assert status == {"k3": "failed", "k5": "failed", "longer": "ok"}
    assert "it has no luck" in (out / "report.html").read_text()
    runs.fails.clear()
    runs.done.clear()
    assert main(command) == 0
    assert [name.split(",")[0] for name in runs.done] == ["k3", "k5"] * 2


def test_parts_are_different_runs_of_one_table(
    boxes: Path, tmp_path: Path, runs: Pretended
) -> None:
    out, recipe = tmp_path / "out", write_recipe(tmp_path)
    for part in range(3):
        assert main(arguments(recipe, boxes, out, "--part", f"{part}/3")) == 0
    assert len(runs.done) == len(set(runs.done)) == 6
    assert {row["status"] for row in read_rows(out / "experiment.csv")} == {"ok"}


def test_another_experiment_in_the_same_folder_is_refused(
    boxes: Path, tmp_path: Path, runs: Pretended, capsys: Capture
) -> None:
    out, recipe = tmp_path / "out", write_recipe(tmp_path)
    assert main(arguments(recipe, boxes, out)) == 0
    capsys.readouterr()
    assert main(arguments(recipe, boxes, out, "--set", "training.learning_rate=0.5")) == 2
    error = capsys.readouterr().err
    assert "holds another experiment (arm k3: training.learning_rate: 0.003 -> 0.5" in error
    assert error.count("\n") == 1
    without = write_recipe(tmp_path, TINY + "[arms.k3]\n")
    assert main(arguments(without, boxes, out)) == 2
    assert "arm k5 is gone" in capsys.readouterr().err


def test_more_seeds_and_arms_join_what_is_there(
    boxes: Path, tmp_path: Path, runs: Pretended
) -> None:
    out, recipe = tmp_path / "out", write_recipe(tmp_path)
    assert main(arguments(recipe, boxes, out)) == 0
    runs.done.clear()
    more = write_recipe(tmp_path, TINY + ARMS + "[arms.new]\nsettings.model.mednext.grn = true\n")
    runs.dice = {**DICE, "new": 0.5}
    workers = ("--set", "training.workers=1")  # which changes no result
    assert main(arguments(more, boxes, out, "--seeds", "0,5", *workers)) == 0
    assert sorted(runs.done) == [
        "k3, seed 5, fold 0", "k5, seed 5, fold 0", "longer, seed 5, fold 0",
        "new, seed 0, fold 0", "new, seed 5, fold 0",
    ]  # fmt: skip
    seeds = {(row["arm"], row["seed"]) for row in read_rows(out / "experiment.csv")}
    assert ("k3", "1") in seeds
    assert ("new", "5") in seeds


def test_the_folder_alone_runs_it_again(boxes: Path, tmp_path: Path, runs: Pretended) -> None:
    out, recipe = tmp_path / "out", write_recipe(tmp_path)
    assert main(arguments(recipe, boxes, out, "--arms", "k3")) == 0
    recipe.unlink()
    runs.done.clear()
    assert main(arguments(out / "experiment.toml", boxes, out)) == 0
    assert [name.split(",")[0] for name in runs.done] == ["longer", "k5"] * 2


def test_arms_of_a_start_that_was_trained_anew_are_named(
    boxes: Path, tmp_path: Path, runs: Pretended, capsys: Capture
) -> None:
    """Their scores are of weights that are gone; nothing is trained or thrown away unasked."""
    out = tmp_path / "out"
    command = arguments(write_recipe(tmp_path), boxes, out)
    assert main(command) == 0
    assert "trained anew" not in capsys.readouterr().err
    shutil.rmtree(out / "runs" / "k3" / "seed1")
    runs.done.clear()
    assert main(command) == 0
    assert runs.done == ["k3, seed 1, fold 0"]
    said = capsys.readouterr().err
    behind = out / "runs" / "k5" / "seed1"
    assert "k5, seed 1, fold 0 began from weights that have been trained anew since" in said
    assert f"remove {behind}" in said
    assert "k5, seed 0" not in said
    shutil.rmtree(behind)
    assert main(command) == 0
    assert "trained anew" not in capsys.readouterr().err
