"""Trained arms on another dataset: as they are, and fine-tuned."""

from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.experiments.plan import ExperimentSpec, plan_experiment
from mednext_cli.experiments.transfer import find_target
from tests.experiments.synthetic import (
    TINY,
    Pretended,
    arguments,
    read_rows,
    write_recipe,
    write_scores,
)
from tests.training.synthetic import NAME

ONE = TINY.replace("[0, 1]", "[0]") + "[arms.k3]\n"
MAP = '[label_map]\norgan = "organ"\n'


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended({"k3": 0.7, "k3-cases1": 0.6, "k3-cases2": 0.65})
    for module in ("run", "transferring"):
        monkeypatch.setattr(f"mednext_cli.experiments.{module}.run_in_process", pretended)
    return pretended


def _transfer(folder: Path, lines: str) -> Path:
    (folder / "map.toml").write_text(MAP)
    return write_recipe(folder, f'{ONE}[transfer]\ndataset = "{NAME}"\n{lines}')


@pytest.mark.slow
def test_arms_are_scored_as_they_are_and_fine_tuned_by_the_shared_labels(
    boxes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = _transfer(tmp_path, 'cases = [0, 1]\nbudget = 1.0\nlabel_map = "map.toml"\n')
    command = arguments(recipe, boxes, tmp_path / "out")
    assert main(command) == 0, capfd.readouterr().err
    rows = read_rows(tmp_path / "out" / "transfer.csv")
    assert [(row["training_cases"], row["region"]) for row in rows] == [
        ("0", "organ"), ("0", "overall"), ("1", "organ"), ("1", "overall"),
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"ok"}
    assert [float(row["steps"]) for row in rows] == [0, 0, 2, 2]
    capfd.readouterr()
    assert main(command) == 0  # all is done, nothing is begun again
    assert "run 1 of" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("cases = [0, 1000]\n", "training.cases = 1000"),
        ('label_map = "absent"\n', "unknown label map 'absent'"),
        ('datasets = "more"\n', "did you mean transfer.dataset?"),
        (
            "cases = [1]\nsettings.training.learning_rat = 1.0\n",
            "unknown key training.learning_rat",
        ),
        ("settings.training.cases = 3\n", "leave settings.training.cases out"),
        ('settings.init.upkern = "run"\n', "leave settings.init out"),
    ],
)
def test_a_transfer_that_cannot_be_is_told_before_anything_is_trained(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, reason: str
) -> None:
    recipe = _transfer(tmp_path, lines)
    assert main(arguments(recipe, boxes, tmp_path / "out")) == 2
    assert reason in capsys.readouterr().err
    assert main(arguments(recipe, boxes, tmp_path / "out", "--dry-run")) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


def test_scores_of_another_transfer_are_not_taken_for_its_own(
    boxes: Path, tmp_path: Path, runs: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(arguments(_transfer(tmp_path, "cases = [1]\n"), boxes, out)) == 0
    capsys.readouterr()
    for lines in ("cases = [1]\nbudget = 0.5\n", 'cases = [1]\nlabel_map = "map.toml"\n'):
        assert main(arguments(_transfer(tmp_path, lines), boxes, out)) == 2
        assert f"{out} holds another experiment (transfer." in capsys.readouterr().err
    assert main(arguments(write_recipe(tmp_path, ONE), boxes, out)) == 2
    assert "transfer is gone" in capsys.readouterr().err
    assert main(arguments(_transfer(tmp_path, "cases = [1, 2]\n"), boxes, out)) == 0
    cases = {row["training_cases"] for row in read_rows(out / "transfer.csv")}
    assert cases == {"1", "2"}


def test_arms_are_compared_on_the_other_dataset_case_by_case(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretended = Pretended({"k3": 0.7, "wide": 0.6, "k3-cases1": 0.5, "wide-cases1": 0.55})
    for module in ("run", "transferring"):
        monkeypatch.setattr(f"mednext_cli.experiments.{module}.run_in_process", pretended)
    recipe = write_recipe(
        tmp_path,
        f"{ONE}[arms.wide]\nsettings.model.mednext.base_channels = 8\n"
        f'[transfer]\ndataset = "{NAME}"\ncases = [1]\n',
    )
    out = tmp_path / "out"
    assert main(arguments(recipe, boxes, out)) == 0
    rows = read_rows(out / "transfer_comparison.csv")
    (row,) = [row for row in rows if (row["metric"], row["region"]) == ("dice", "overall")]
    assert (row["training_cases"], row["arm"], row["against"]) == ("1", "wide", "k3")
    assert float(row["difference"]) == pytest.approx(0.05)
    assert "fine-tuned on 1 of its cases" in (out / "report.html").read_text()


def test_a_run_that_was_killed_before_it_was_scored_is_scored_by_the_shared_labels(
    boxes: Path, tmp_path: Path, runs: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuning ends with scores by all labels: they are not those that are asked for."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    out, recipe = tmp_path / "out", _transfer(tmp_path, 'cases = [1]\nlabel_map = "map.toml"\n')
    command = arguments(recipe, boxes, out)
    with monkeypatch.context() as patched:
        patched.setattr("mednext_cli.experiments.transferring._score", killed)
        assert main(command) == 130
    assert len(runs.done) == 2

    def score(_: Path, place: Path, *__: object) -> None:
        write_scores(place / "cases.csv", 0.25, 0)
        (place / "summary.csv").write_text("region,metric,mean\norgan,dice,0.25\n")

    monkeypatch.setattr("mednext_cli.experiments.transferring._score", score)
    assert main(command) == 0
    assert len(runs.done) == 2  # nothing is trained again
    (row,) = read_rows(out / "transfer.csv")
    assert (row["status"], row["region"], row["dice"]) == ("ok", "organ", "0.25")


def test_the_map_is_of_the_labels_that_the_networks_learned(boxes: Path, tmp_path: Path) -> None:
    """A layout of the same name may have other values than the cache."""
    (tmp_path / "map.toml").write_text(f"source = {{organ = 7}}\n{MAP}")
    recipe = write_recipe(
        tmp_path, f'{ONE}[transfer]\ndataset = "{NAME}"\ncases = [0]\nlabel_map = "map.toml"\n'
    )
    plan = plan_experiment(ExperimentSpec(str(recipe), tmp_path / "out", boxes))
    assert plan.cache is not None
    target = find_target(plan, plan.cache, boxes)
    assert target is not None
    assert target.label_map is not None
    assert target.label_map.source == plan.cache.plan.label_set.names
