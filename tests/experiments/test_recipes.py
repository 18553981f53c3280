"""Experiments as recipes: read, all errors at once, listed, shown, copied, checked."""

from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.experiments.arms import resolve_arms
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings.experiment import ExperimentRecipe
from mednext_cli.settings.experiment_files import load_experiment, write_experiment
from mednext_cli.settings.recipe_files import find_recipes, is_experiment, read_source

HEAD = """
dataset = "Task"
recipe = "cpu"
seeds = [0, 1]
[budget]
minutes = 2.0
"""
SHIPPED = "ablation/upkern_hippocampus"


def _written(folder: Path, text: str) -> str:
    path = folder / "experiment.toml"
    path.write_text(text)
    return str(path)


def _load(folder: Path, text: str, *settings: str) -> ExperimentRecipe:
    return load_experiment(_written(folder, text), settings)


def test_every_shipped_experiment_has_arms_that_can_be_trained() -> None:
    experiments = [name for name in find_recipes() if is_experiment(read_source(name))]
    assert SHIPPED in experiments
    for name in experiments:
        experiment = load_experiment(name)
        assert experiment.description, f"{name} says nothing about itself"
        assert experiment.claim, f"{name} does not say what it tests"
        assert list(resolve_arms(experiment, name)) == list(experiment.arms)


def test_arms_lay_their_settings_over_those_of_all(tmp_path: Path) -> None:
    text = f"""{HEAD}
[settings.training]
batch_size = 3
[arms.one]
[arms.two]
budget = 2.0
start = "one"
settings.model.mednext.kernel = 5
settings.training.batch_size = 4
[arms.other]
recipe = "demo"
"""
    arms = resolve_arms(_load(tmp_path, text, "training.learning_rate=0.5"), "it")
    one, two, other = (arms[name].recipe for name in ("one", "two", "other"))
    assert (one.training.minutes, one.training.batch_size) == (2.0, 3)
    assert (two.training.minutes, two.training.batch_size) == (4.0, 4)
    assert {recipe.training.learning_rate for recipe in (one, two, other)} == {0.5}
    assert (one.model.table["kernel"], two.model.table["kernel"]) == (3, 5)
    assert other.model.table["base_channels"] == 8
    assert arms["two"].chain == ("two", "one")
    assert [arms["one"].seeded(seed).training.seed for seed in (0, 1)] == [0, 1]


def test_a_budget_in_epochs_leaves_no_minutes_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("[training]\nminutes = 5\n")
    text = HEAD.replace('"cpu"', '"base"').replace("minutes = 2.0", "epochs = 7")
    experiment = _load(tmp_path, f"{text}[arms.one]\n[arms.half]\nbudget = 0.5\n")
    arms = resolve_arms(experiment, "it")
    assert arms["one"].recipe.training.minutes is None
    assert [arm.recipe.training.epochs for arm in arms.values()] == [7, 4]
    short = load_experiment(str(tmp_path / "experiment.toml"), ["budget.minutes=1"])
    assert (short.budget.minutes, short.budget.epochs) == (1.0, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[arms.one]\nstrat = "two"', "unknown key arms.one.strat, did you mean arms.one.start?"),
        ('[arms.one]\nstart = "two"', "one starts from 'two', which is no arm"),
        ('[arms.a]\nstart = "b"\n[arms.b]\nstart = "a"', "start from each other: a from b from a"),
        ('[arms."../up"]', "leads to another folder"),
        ('[arms."a b"]', "an arm's name is that of a folder"),
        ('[arms."a.toml"]', "without .toml at its end"),
        ("[arms.One]\n[arms.one]", "One and one are one folder"),
        ('[arms.one]\ngrowth = "nearest"', "growth is of an arm with a start"),
        ("[arms.one]\nsettings.training.seed = 3", "training.seed cannot be set here"),
        ("[arms.one]\nsettings.training.minutes = 3", "training.minutes cannot be set here"),
        ("[arms]", "arms: Dictionary should have at least 1 item"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, HEAD + text)
    assert expected in str(caught.value)


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    text = 'dataset = "a/b"\nseeds = [1, 1]\n[budget]\nminutes = 1\nepochs = 1\n[arms.one]\n'
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, text)
    for part in ("dataset = 'a/b'", "seeds = [1, 1]: one is given twice", "either minutes or"):
        assert part in str(caught.value)


def test_what_is_wrong_with_arms_recipes_is_said_by_arm(tmp_path: Path) -> None:
    text = f"{HEAD}[arms.good]\n[arms.bad]\nsettings.training.epoch = 3\n"
    with pytest.raises(SettingsError) as caught:
        resolve_arms(_load(tmp_path, text), "it")
    assert "it: arm bad: unknown key training.epoch, did you mean" in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        resolve_arms(_load(tmp_path, text, "training.learning_rat=3"), "it")
    assert "good" in str(caught.value)
    assert "training.learning_rate?" in str(caught.value)


def test_a_written_experiment_reads_back_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "cpu"\n')
    text = HEAD.replace('"cpu"', '"mine"') + '[arms.one]\n[arms.two]\nrecipe = "demo"\n'
    experiment = _load(tmp_path, text)
    (tmp_path / "elsewhere").mkdir()
    write_experiment(tmp_path / "elsewhere" / "copy.toml", experiment)
    copy = load_experiment(str(tmp_path / "elsewhere" / "copy.toml"))
    assert copy == experiment
    assert resolve_arms(copy, "it") == resolve_arms(experiment, "it")


def test_the_two_kinds_of_recipes_are_told_apart() -> None:
    with pytest.raises(SettingsError, match="is an experiment of several arms"):
        load_recipe(SHIPPED)
    with pytest.raises(SettingsError, match="is a recipe of one training"):
        load_experiment("cpu")


def test_the_commands_on_recipes_know_experiments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", "ls"]) == 0
    assert f"{SHIPPED}\texperiment\t" in capsys.readouterr().out
    assert main(["recipes", "show", SHIPPED, "--set", "budget.minutes=3"]) == 0
    shown = capsys.readouterr().out
    assert "minutes = 3" in shown
    assert "[arms.k5_upkern" in shown
    target = tmp_path / "mine.toml"
    assert main(["recipes", "cp", SHIPPED, str(target)]) == 0
    assert load_experiment(str(target)) == load_experiment(SHIPPED)
    capsys.readouterr()
    assert main(["recipes", "check", str(target), "--set", "model.mednext.base_channels=4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["arm", *load_experiment(SHIPPED).arms]
    assert "S-k5-w4" in lines[3]
    assert main(["recipes", "check", str(target), "--measure"]) == 2
