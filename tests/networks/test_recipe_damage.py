"""Recipes and ``--set`` with any nonsense in them: read, or refused in one line of ours."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mednext_cli.app import main
from mednext_cli.networks.recipes import load_recipe, network_keys
from mednext_cli.settings.recipe import Recipe, recipe_fields
from mednext_cli.settings.recipe_files import find_recipes

_SHARED_FIXTURES = [HealthCheck.function_scoped_fixture]  # neither holds anything between examples
_SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.sampled_from([0, 1, 3, 10**6, 10**6 + 1, 2**31, 2**63]),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(["", "S", "auto", "mednext", "../../x", "a\nb", "\x1b[2J", "5", "nan"]),
    st.just(datetime.date(2026, 1, 1)),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("ab._ ", max_size=4), inner)
    ),
    max_leaves=6,
)
_NETWORK_KEYS = ["model.mednext", *(f"model.mednext.{key}" for key in network_keys("mednext"))]
_KEYS = st.one_of(
    st.sampled_from([*recipe_fields(), *_NETWORK_KEYS, *Recipe.model_fields, "extends"]),
    st.text(st.sampled_from("abt_. \n\"'[]="), max_size=8),
)
_CHANGES = st.lists(st.tuples(_KEYS, _VALUES), min_size=1, max_size=3)


def _changed(table: dict[str, Any], key: str, value: Any) -> None:
    section, dot, name = key.partition(".")
    if dot and isinstance(table.get(section), dict):
        _changed(table[section], name, value)
    else:
        table[key] = value


def _check(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(arguments)
    error = capsys.readouterr().err
    assert code in (0, 2), error
    assert error.count("\n") == (code == 2), error


@pytest.mark.slow
@settings(suppress_health_check=_SHARED_FIXTURES, max_examples=120, deadline=None)
@given(changes=_CHANGES)
def test_a_recipe_with_any_values_is_read_or_refused(
    changes: list[tuple[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load_recipe("cpu").model_dump(mode="json", exclude_none=True)
    for key, value in changes:
        _changed(table, key, value)
    path = tmp_path / "recipe.toml"
    path.write_bytes(tomli_w.dumps(table).encode())
    _check(["recipes", "show", str(path)], capsys)


@pytest.mark.slow
@settings(suppress_health_check=_SHARED_FIXTURES, max_examples=120, deadline=None)
@given(data=st.data())
def test_a_recipe_of_any_bytes_is_read_or_refused(
    data: st.DataObject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = find_recipes()[data.draw(st.sampled_from(["cpu", "demo"]))].read_bytes()
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.sampled_from([0, 1, 4, len(content)]))
    path = tmp_path / "recipe.toml"
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=6)) + content[start + length :])
    _check(["recipes", "show", str(path)], capsys)


@pytest.mark.slow
@settings(suppress_health_check=_SHARED_FIXTURES, max_examples=120, deadline=None)
@given(
    given_settings=st.lists(
        st.one_of(
            st.text(st.characters(), max_size=20),
            st.builds("{}={}".format, _KEYS, _VALUES),
            st.builds("{}={}".format, _KEYS, st.text(st.sampled_from("01.eE-\n[]{}\"'=#ab,"))),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_setting_is_taken_or_refused(
    given_settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for setting in given_settings for word in ("--set", setting)]
    _check(["recipes", "show", "cpu", *words], capsys)


@pytest.mark.parametrize(
    "setting",
    [
        "training.epochs=" + "[" * 5000,
        "training.epochs=" + "9" * 5000,
        "description=" + "x" * 100_000,
        "x" * 100_000 + "=1",
        ".".join(["a"] * 50_000) + "=1",
        "training.epochs=5\n[model]\nsize='B'",
        "training.epochs=5\nkernel=7",
        "description=\udcff",
        "training.patch_voxels=[1e9, 1, 1]",
        "model.mednext.base_channels=100000000",
        "training.scaling_range=[0, 1e300]",
    ],
)
def test_given_settingsmade_to_hurt(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["recipes", "show", "cpu", "--set", setting])
    error = capsys.readouterr().err
    assert code == (0 if setting.startswith("description=x") else 2)
    assert len(error) < 110_000
    assert "fault of ours" not in error


def test_a_setting_changes_nothing_beside_its_key() -> None:
    plain = load_recipe("cpu")
    table = load_recipe("cpu", ['model.mednext={size="B"}'])
    assert table.model.table["base_channels"] == plain.model.table["base_channels"]
    assert table.model.table["size"] == "B"
    twice = load_recipe("cpu", ["training.epochs=5", "training.epochs=6"])
    assert twice.training.epochs == 6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "XL"], "error: --model 'XL': Input should be 'S', 'B', 'M' or 'L'"),
        (
            ["--model", "nnunet"],
            "of the network mednext; --network NAME or a recipe chooses another",
        ),
        (["--kernel", "4"], "error: --kernel 4: Input should be 3, 5 or 7"),
        (["--operators", "fast"], "Invalid value for '--operators'"),
        (["--set", "training.epochs=true"], "training.epochs = True: a number is needed"),
        (
            ["--set", "augmentation.mirror_axes=left"],
            "augmentation.mirror_axes = 'left': Input should be a valid tuple, or: Input should be "
            "'plan' or 'plan_left_right'",
        ),
    ],
)
def test_train_names_the_option_that_is_wrong(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "nothing", *options]) == 2
    assert expected in capsys.readouterr().err
