"""Recipes as TOML files: those that come with mednext, and the user's own."""

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

import mednext_cli
from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.foundation.files import read_toml, write_text
from mednext_cli.training.recipe import Recipe

Table = dict[str, Any]


def shipped_folder() -> Path:
    """Where the recipes of this installation lie: in the wheel, or beside a checkout."""
    package = Path(mednext_cli.__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def find_recipes() -> dict[str, Path]:
    """The shipped recipes by name (path below the folder without ``.toml``)."""
    folder = shipped_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.toml"))
    }


def locate_recipe(name_or_file: str) -> Path:
    """The file of a shipped recipe's name, or of a path that ends in ``.toml``.

    Raises:
        SettingsError: neither is there.
    """
    if name_or_file.endswith(".toml"):
        path = Path(name_or_file)
        if not path.is_file():
            raise SettingsError(
                f"{path} does not exist", "mednext recipes ls lists the shipped ones."
            )
        return path
    shipped = find_recipes()
    if name_or_file not in shipped:
        raise SettingsError(f"unknown recipe {name_or_file!r}", nearest(name_or_file, shipped))
    return shipped[name_or_file]


def load_recipe(name_or_file: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with what it extends, and apply ``key=value`` settings.

    Args:
        name_or_file: a shipped recipe's name or a TOML file.
        settings: like ``training.epochs=50``; values are TOML, bare words are text.

    Raises:
        SettingsError: unknown recipe, invalid TOML, or invalid values: all of them in one message,
            each with key, value, what is allowed and the nearest known key.
    """
    path = locate_recipe(name_or_file)
    table = _read_extended(path)
    for setting in settings:
        _apply_setting(table, setting)
    return check_recipe(table, str(path))


def check_recipe(table: Mapping[str, Any], source: str) -> Recipe:
    """Validate a table of values; `source` names it in the errors."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise SettingsError(f"{source}: {problems}", "Correct the recipe or the --set.") from error


def write_recipe(path: Path, recipe: Recipe, remarks: Sequence[str] = ()) -> None:
    """Write the resolved recipe as TOML, under `remarks` of a line each."""
    comments = "".join(f"# {remark}\n" for remark in remarks)
    write_text(path, comments + tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)))


def _read_extended(path: Path) -> Table:
    """One level of `extends`: a shipped name, or a file beside this one."""
    table = read_toml(path)
    base = table.pop("extends", None)
    if base is None:
        return table
    beside = path.parent / f"{str(base).removesuffix('.toml')}.toml"
    below = read_toml(beside if beside.is_file() else locate_recipe(str(base)))
    if "extends" in below:
        raise SettingsError(
            f"{path} extends {base}, which itself extends {below['extends']}",
            "One level is allowed: copy what you need (mednext recipes cp).",
        )
    return _merge(below, table)


def _merge(below: Table, above: Table) -> Table:
    """`above` laid over `below`, table by table."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply_setting(table: Table, setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set {setting}: not KEY=VALUE", "Like --set training.epochs=50.")
    *sections, name = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise SettingsError(f"--set {setting}: {section} holds a value, not a section")
    table[name] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _describe(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        close = get_close_matches(key, known_keys(), n=1)
        return f"unknown key {key}" + (f", did you mean {close[0]}?" if close else "")
    value = "" if isinstance(problem["input"], dict) else f" = {problem['input']!r}"
    return f"{key}{value}: {problem['msg']}"


def known_keys() -> list[str]:
    """Every key a recipe may hold, dotted."""
    keys = []
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys += [f"{name}.{key}" for key in section.model_fields]
        else:
            keys.append(name)
    return keys
