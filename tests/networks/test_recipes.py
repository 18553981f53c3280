"""Recipes: every shipped one valid, every wrong value named, all at once."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.mednext.family import FAMILY
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings import recipe_files
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.recipe_files import (
    find_recipes,
    is_experiment,
    read_source,
    write_recipe,
)

_KERNEL_5 = "model.mednext.kernel=5"
_SIDES = ("model.mednext.encoder_kernel=3", "model.mednext.decoder_kernel=5")
_NARROW_PLAIN_GRN = [
    f"model.mednext.{one}" for one in ("base_channels=8", "grn=true", "residual=false")
]


def _label(recipe: Recipe) -> str:
    return choose_network(recipe.model).label


def test_every_shipped_recipe_is_valid() -> None:
    recipes = [name for name in find_recipes() if not is_experiment(read_source(name))]
    assert len(recipes) >= 3
    for name in recipes:
        assert load_recipe(name).description, f"{name} says nothing about itself"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped recipes, and one of a network that comes with none."""
    folder = shutil.copytree(recipe_files.shipped_folder(), tmp_path / "recipes")
    (folder / "baselines").mkdir(exist_ok=True)
    text = 'description = "as published"\n[model]\nnetwork = "toy"\n[training]\noptimiser = "sgd"'
    (folder / "baselines" / "toy.toml").write_text(text)
    (folder / "baselines" / "small.toml").write_text('extends = "cpu"\ndescription = "small"')
    monkeypatch.setattr(recipe_files, "shipped_folder", lambda: folder)


@pytest.mark.usefixtures("published")
def test_recipes_in_folders_are_found_by_their_path() -> None:
    assert "baselines/toy" in find_recipes()
    assert load_recipe("baselines/small").training == load_recipe("cpu").training
    with pytest.raises(SettingsError, match="Did you mean baselines/small"):
        load_recipe("baselines/smal")


@pytest.mark.usefixtures("published")
def test_a_network_has_its_published_recipe_unless_another_is_named() -> None:
    assert [recipe_files.recipe_for(name) for name in ("toy", "mednext", None)] == [
        "baselines/toy",
        "mednext",
        "mednext",
    ]


def test_train_names_a_network_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nothing", "--network", "mednex"]) == 2
    said = capsys.readouterr().err
    assert "--network 'mednex': there is no such network. Did you mean mednext?" in said
    assert said.count("\n") == 1


def test_the_default_recipe_is_the_published_one() -> None:
    recipe = load_recipe("mednext")
    training = recipe.training
    assert (training.epochs, training.iterations_per_epoch) == (1000, 250)
    assert (training.learning_rate, training.weight_decay) == (1e-3, 3e-5)
    assert (training.poly_exponent, training.gradient_clip) == (0.9, 12.0)
    assert recipe.augmentation.mirrored == (0, 1, 2)
    assert recipe.model.table["kernel"] == 3


def test_what_a_recipe_leaves_out_is_as_published() -> None:
    published = load_recipe("mednext")
    for section in ("training", "augmentation", "inference"):
        assert getattr(Recipe(), section) == getattr(published, section)


def test_settings_are_applied_in_toml() -> None:
    recipe = load_recipe(
        "cpu",
        ["training.epochs=7", 'augmentation.mirror_axes=["left_right"]', "model.mednext.size=B"],
    )
    assert recipe.training.epochs == 7
    assert recipe.training.learning_rate == 3e-3  # what the recipe says stays
    assert recipe.augmentation.mirrored == (2,)
    assert _label(recipe) == "B-k3-w16"


def test_all_errors_come_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('[training]\nepoch = 5\nlearning_rate = -1\n[model.mednext]\nsize = "XL"\n')
    with pytest.raises(SettingsError) as caught:
        load_recipe(str(path))
    text = str(caught.value)
    assert "training.epoch, did you mean training.epochs?" in text
    assert "training.learning_rate = -1" in text
    assert "model.mednext.size = 'XL'" in text
    assert str(path) in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            [
                "model.mednext.kernel=5",
                "model.mednext.encoder_kernel=3",
                "model.mednext.decoder_kernel=3",
            ],
            "either kernel",
        ),
        (["model.mednext.encoder_kernel=3"], "given together"),
        (["model.mednext.kernel=4"], "model.mednext.kernel = 4"),
        (["training.epochs"], "KEY=VALUE"),
        (["description=x", "description.epochs=3"], "holds a value"),
        (["model.uxnet.hidden_size=8"], "hidden_size: is of another network, the recipe's is med"),
    ],
)
def test_wrong_settings_are_refused(settings: list[str], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        load_recipe("mednext", settings)


def test_separate_kernels_replace_the_common_one() -> None:
    recipe = load_recipe(
        "mednext", ["model.mednext.encoder_kernel=3", "model.mednext.decoder_kernel=5"]
    )
    assert (recipe.model.table["encoder_kernel"], recipe.model.table["decoder_kernel"]) == (3, 5)
    assert "kernel" not in recipe.model.table
    assert _label(recipe) == "S-k3-5"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], "S-k3"),
        (["model.mednext.size=L", "model.mednext.kernel=5"], "L-k5"),
        (["model.mednext.base_channels=16"], "S-k3-w16"),
        (["model.mednext.norm=layer"], "S-k3-layer_norm"),
        (["model.mednext.grn=true"], "S-k3-grn"),
        (["model.mednext.residual=false"], "S-k3-plain"),
        (["model.mednext.resampling=inverted"], "S-k3-inverted_resampling"),
        (["model.mednext.resampling=plain"], "S-k3-plain_resampling"),
        (["model.mednext.mixer=window_attention"], "S-k3-window4"),
        (["model.mednext.mixer=window_attention", "model.mednext.heads=1"], "S-k3-window4"),
        (["model.mednext.mixer=bias", "model.mednext.window=2"], "S-k3-bias2"),
        (["model.deep_supervision=false"], "S-k3-one_head"),
        (["model.mednext.dimensions=2"], "S-k3-2d"),
        (
            [
                "model.mednext.base_channels=8",
                "model.mednext.grn=true",
                "model.mednext.residual=false",
            ],
            "S-k3-w8-grn-plain",
        ),
        (["model.checkpointing=true", "model.operators=stock"], "S-k3"),
    ],
)
def test_the_label_says_what_differs_from_the_published_network(
    settings: list[str], expected: str
) -> None:
    assert _label(load_recipe("mednext", settings)) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], "nnformer"),
        (["model.deep_supervision=true"], "nnformer-deep_supervision"),
        (["model.nnformer.variant=synapse"], "nnformer_synapse"),
        (
            ["model.nnformer.variant=synapse", "model.deep_supervision=false"],
            "nnformer_synapse-one_head",
        ),
    ],
)
def test_heads_are_said_where_they_are_not_what_the_network_has_by_itself(
    settings: list[str], expected: str
) -> None:
    assert _label(load_recipe("baselines/nnformer", settings)) == expected


def test_every_setting_of_the_network_changes_the_label() -> None:
    """A new one that does not would let two networks share a run folder."""
    nine = [3] * 9
    others: dict[str, dict[str, Any]] = {
        "size": {"size": "B"},
        "kernel": {"kernel": 5},
        "encoder_kernel": {"encoder_kernel": 5, "decoder_kernel": 3},
        "decoder_kernel": {"encoder_kernel": 3, "decoder_kernel": 5},
        "base_channels": {"base_channels": 16},
        "dimensions": {"dimensions": 2},
        "norm": {"norm": "layer"},
        "grn": {"grn": True},
        "grn_in_first_downsampling": {"grn": True, "grn_in_first_downsampling": True},
        "residual": {"residual": False},
        "resampling": {"resampling": "plain"},
        "mixer": {"mixer": "bias"},
        "window": {"mixer": "window_attention", "window": 3},
        "heads": {"mixer": "window_attention", "heads": 2},
        "expansion": {"expansion": nine, "blocks": [2] * 9},
        "blocks": {"expansion": [2] * 9, "blocks": nine},
    }
    assert set(others) == set(MedNeXtSettings.model_fields)
    labels = {FAMILY.label(MedNeXtSettings(**values)) for values in others.values()}
    assert len(labels | {FAMILY.label(MedNeXtSettings())}) == len(others) + 1


def test_keys_of_earlier_versions_are_said_where_they_are_now() -> None:
    with pytest.raises(SettingsError) as caught:
        load_recipe("cpu", ["model.size=B", "model.kernels=stock"])
    assert "unknown key model.size: it is model.mednext.size now" in str(caught.value)
    assert "unknown key model.kernels: it is model.operators now" in str(caught.value)


def test_a_network_that_is_not_installed_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"no such network\. Did you mean mednext\?"):
        load_recipe("cpu", ["model.network=mednex"])
    with pytest.raises(SettingsError, match=r"unknown key model\.medformer"):
        load_recipe("cpu", ["model.medformer.width=3"])


def test_extends_goes_one_level_deep(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[training]\nepochs = 3\n")
    (tmp_path / "b.toml").write_text('extends = "c"\n')
    (tmp_path / "a.toml").write_text('extends = "b"\n')
    assert load_recipe(str(tmp_path / "b.toml")).training.epochs == 3
    with pytest.raises(SettingsError, match="One level"):
        load_recipe(str(tmp_path / "a.toml"))


def test_a_written_recipe_reads_back_the_same(tmp_path: Path) -> None:
    recipe = load_recipe("cpu", ["model.mednext.kernel=5"])
    write_recipe(tmp_path / "recipe.toml", recipe)
    assert load_recipe(str(tmp_path / "recipe.toml")) == recipe


def test_the_command_browses_copies_and_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", "ls"]) == 0
    assert "cpu" in capsys.readouterr().out
    target = tmp_path / "mine.toml"
    assert main(["recipes", "cp", "cpu", str(target)]) == 0
    assert load_recipe(str(target)) == load_recipe("cpu")
    assert main(["recipes", "cp", "cpu", str(target)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["recipes", "show", "cpu"]) == 0
    assert "base_channels = 16" in capsys.readouterr().out
    assert main(["recipes", "show", "cpuu"]) == 2
    assert "Did you mean cpu?" in capsys.readouterr().err
