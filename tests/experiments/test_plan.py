"""The plan of an experiment: every run with what it takes, before anything is written."""

from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.experiments.needs import Needs
from mednext_cli.experiments.plan import ExperimentSpec, plan_experiment
from mednext_cli.experiments.published_hours import estimate_a100_hours
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.recipes import load_recipe
from tests.experiments.synthetic import ARMS, TINY, arguments, write_recipe

MINUTES = TINY.replace("epochs = 1", "minutes = 3.0") + ARMS


def test_runs_are_planned_with_what_they_are_charged(boxes: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, MINUTES)
    plan = plan_experiment(ExperimentSpec(str(recipe), tmp_path / "out", boxes))
    runs = {(run.key.arm, run.key.seed): run for run in plan.runs}
    assert len(runs) == 6
    assert [run.key.arm for run in plan.runs[:3]] == ["k3", "longer", "k5"]
    assert (runs["k5", 0].minutes, runs["k5", 0].charged_minutes) == (3.0, 6.0)
    assert runs["longer", 1].charged_minutes == 6.0
    assert plan.minutes == 2 * (3 + 3 + 6)
    assert runs["k5", 0].needs.parameters > runs["k3", 0].needs.parameters
    assert not (tmp_path / "out").exists()


def test_the_minutes_of_epochs_are_not_known_before_a_run(boxes: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    plan = plan_experiment(ExperimentSpec(str(recipe), tmp_path / "out", boxes))
    assert all(run.minutes != run.minutes for run in plan.runs)


def test_what_is_chosen_brings_what_it_starts_from(boxes: Path, tmp_path: Path) -> None:
    spec = ExperimentSpec(
        str(write_recipe(tmp_path)), tmp_path / "out", boxes, arms=("k5",), seeds=(7,), folds=(1,)
    )
    todo = plan_experiment(spec).todo
    assert [(run.key.arm, run.key.seed, run.key.fold) for run in todo] == [
        ("k3", 7, 1),
        ("k5", 7, 1),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arms": ("k33",)}, "--arms k33: no such arm. Did you mean k3"),
        ({"folds": (2,)}, "there is no fold 2 of 2"),
        ({"part": "3/2"}, "--part 3/2: not a part"),
        ({"seeds": (2**32,)}, "--seeds 4294967296: no seed"),
        ({"settings": ("training.epochs=3",)}, "training.epochs cannot be set here"),
    ],
)
def test_what_cannot_be_run_is_refused(
    boxes: Path, tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    spec = ExperimentSpec(str(write_recipe(tmp_path)), tmp_path / "out", boxes, **changes)
    with pytest.raises(SettingsError) as caught:
        plan_experiment(spec)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('start = "k3"\nsettings.model.mednext.norm = "layer"', "norm group instead of layer"),
        ('start = "k5"', "arm k5 has kernels 5, which cannot shrink to 3"),
        ('start = "k3"\nsettings.model.network = "unetr"', "mednext instead of unetr"),
    ],
)
def test_an_arm_that_cannot_begin_with_its_start_is_refused_at_once(
    boxes: Path, tmp_path: Path, lines: str, expected: str
) -> None:
    recipe = write_recipe(tmp_path, f"{TINY}{ARMS}[arms.other]\n{lines}\n")
    with pytest.raises(SettingsError) as caught:
        plan_experiment(ExperimentSpec(str(recipe), tmp_path / "out", boxes))
    assert "arm other cannot start from arm k" in str(caught.value)
    assert expected in str(caught.value)


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = arguments(write_recipe(tmp_path, MINUTES), boxes, out, "--dry-run")
    assert main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("arm\tseed\tfold\tnetwork\t")
    assert shown[3].split("\t")[-3:] == ["6", "", "to do"]
    assert shown[-1] == "6 runs, 0 whole, 6 to do here: 24.0 minutes of training steps"
    assert not out.exists()
    command[command.index(str(boxes))] = str(tmp_path / "no_cache")
    assert main(command) == 0
    assert "no cache of Dataset001_Boxes yet" in capsys.readouterr().out
    assert main([word for word in command if word != "--dry-run"]) == 2
    assert "has no cache of Dataset001_Boxes" in capsys.readouterr().err


def test_hours_of_an_a100_are_told_from_published_trainings() -> None:
    training = load_recipe("mednext").training
    patch = (128, 128, 128)
    of_l = Needs("L-k5", patch, 2, multiply_adds=564e9)
    assert estimate_a100_hours(of_l, training) == pytest.approx(233)
    half = replace(of_l, label="B-k3", multiply_adds=250e9)
    assert estimate_a100_hours(half, training) == pytest.approx(34)
    nnunet = Needs("nnunet", patch, 2)
    short = training.model_copy(update={"epochs": 500})
    assert estimate_a100_hours(nnunet, short) == pytest.approx(4.5)
    for label in ("L-k7", "unetr", "S-k5-window4", "S-k3-w16-bias3"):
        assert isnan(estimate_a100_hours(replace(of_l, label=label), training))
    minutes = training.model_copy(update={"minutes": 10.0})
    assert isnan(estimate_a100_hours(of_l, minutes))


def test_the_usual_folder_is_below_experiments_wherever_the_recipe_lies(tmp_path: Path) -> None:
    usual = {
        "ablation/upkern": "experiments/ablation/upkern",
        "mine.toml": "experiments/mine",
        str(tmp_path / "mine.toml"): "experiments/mine",
        "../mine.toml": "experiments/mine",
    }
    for recipe, folder in usual.items():
        assert ExperimentSpec(recipe).folder.path == Path(folder)
    (tmp_path / "recipes").mkdir()
    begun = tmp_path / "experiment.toml"
    assert ExperimentSpec(str(begun)).folder.path == tmp_path
