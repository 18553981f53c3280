"""Recipes as TOML files: those that come with mednext, and the user's own."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w
from pydantic import ValidationError

import mednext_cli
from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.foundation.files import read_toml, write_text
from mednext_cli.settings.recipe import Recipe

Table = dict[str, Any]
DEFAULT_RECIPE = "mednext"
_WITH_TABLES = ("model", "callbacks")  # sections that hold a table each network, or callback, has
_LONGEST = 80  # characters of what somebody wrote, in an error


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


def is_experiment(source: "RecipeSource") -> bool:
    """Whether a recipe is one of several trainings that are compared, by its `[arms]`."""
    return "arms" in source.values


def recipe_for(network: str | None) -> str:
    """The shipped recipe of a network as it was published; MedNeXt's where there is none."""
    published = f"baselines/{network}"
    return published if published in find_recipes() else DEFAULT_RECIPE


def locate_recipe(name_or_file: str) -> Path:
    """The file of a shipped recipe's name, or of a path that ends in ``.toml``.

    Raises:
        SettingsError: neither is there.
    """
    if name_or_file.endswith(".toml"):
        path = Path(name_or_file)
        if not _is_file(path):
            raise SettingsError(
                f"{path} does not exist", "mednext recipes ls lists the shipped ones."
            )
        return path
    shipped = find_recipes()
    if name_or_file not in shipped:
        raise SettingsError(
            f"unknown recipe {_brief(repr(name_or_file))}", nearest(name_or_file, shipped)
        )
    return shipped[name_or_file]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False


@dataclass(frozen=True)
class RecipeSource:
    """What files and options say of a recipe, before it is known whether that can be.

    Attributes:
        values: by section.
        name: of the file, for messages.
        options: names of the command's options that gave a value, by dotted key.
        settings: dotted keys that were set one by one.
    """

    values: Table
    name: str
    options: Mapping[str, str] = attribute(default_factory=dict)
    settings: tuple[str, ...] = ()


def read_source(
    name_or_file: str,
    settings: Sequence[str] = (),
    options: Mapping[str, tuple[str, Any]] = MappingProxyType({}),
) -> RecipeSource:
    """Read a recipe, with what it extends, and apply ``key=value`` settings; nothing is validated.

    Args:
        name_or_file: a shipped recipe's name or a TOML file.
        settings: like ``training.epochs=50``; values are TOML, bare words are text. Of two for one
            key the last one counts.
        options: key and value by the name of a command's option, which errors then name; None
            leaves the recipe as it is. They come after the settings.

    Raises:
        SettingsError: unknown recipe or invalid TOML.
    """
    path = locate_recipe(name_or_file)
    table = _read_extended(path)
    for setting in settings:
        _apply_setting(table, setting)
    given = {key: name for name, (key, value) in options.items() if value is not None}
    for key, name in given.items():
        table = lay_over(table, _nested(key.split("."), options[name][1]))
    keys = tuple(setting.partition("=")[0].strip() for setting in settings)
    return RecipeSource(table, str(path), given, keys)


@dataclass(frozen=True)
class Problem:
    """One value that cannot be.

    Attributes:
        key: where, as a path of keys.
        message: what is allowed; empty where the key is not known.
        value: what was given.
    """

    key: tuple[str, ...]
    message: str = ""
    value: object = None


def problems_in(error: ValidationError, below: tuple[str, ...] = ()) -> list[Problem]:
    """All that pydantic found wrong with values that stand `below` this key.

    Of a value that may be of several kinds it says of each kind why not: that is one problem.
    """
    found = dict[tuple[str, ...], Problem]()
    for fault in error.errors(include_url=False):
        unknown = fault["type"] == "extra_forbidden"
        place = tuple(map(str, fault["loc"]))
        key = (*below, *(place if unknown else filter(_is_key, place)))
        message = "" if unknown else fault["msg"].removeprefix("Value error, ")
        if key in found:
            message = f"{found[key].message}, or: {message}"
        found[key] = Problem(key, message, fault["input"])
    return list(found.values())


def _is_key(part: str) -> bool:
    """Not the name of a kind, as tuple[...] or literal[...]."""
    return "[" not in part


def refused(
    source: RecipeSource,
    problems: Sequence[Problem],
    known: Sequence[str],
    moved: Mapping[str, str] = MappingProxyType({}),
) -> SettingsError:
    """All that is wrong with a recipe, in one line.

    Args:
        source: of the values.
        problems: at least one.
        known: dotted keys that there are; the nearest one is named.
        moved: where keys of earlier versions are now.
    """
    texts = [_describe(problem, source.options, known, moved) for problem in problems]
    if all(text.startswith("--") for text in texts):
        return SettingsError("; ".join(texts), "Correct the option.")
    return SettingsError(f"{source.name}: {'; '.join(texts)}", "Correct the recipe or the --set.")


def write_recipe(path: Path, recipe: Recipe, remarks: Sequence[str] = ()) -> None:
    """Write the resolved recipe as TOML, under `remarks` of a line each."""
    write_text(path, "".join(f"# {remark}\n" for remark in remarks) + recipe_text(recipe))


def recipe_text(recipe: Recipe) -> str:
    """The resolved recipe as TOML, without sections that hold nothing."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({key: value for key, value in values.items() if value != {}})


def _read_extended(path: Path) -> Table:
    """One level of `extends`: a shipped name, or a file beside this one."""
    table = read_toml(path)
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise SettingsError(f"{path}: extends is no text", 'Name a recipe, like extends = "cpu".')
    beside = path.parent / f"{base.removesuffix('.toml')}.toml"
    below = read_toml(beside if _is_file(beside) else locate_recipe(base))
    if "extends" in below:
        raise SettingsError(
            f"{path} extends {base}, which itself extends {below['extends']}",
            "One level is allowed: copy what you need (mednext recipes cp).",
        )
    return lay_over(below, table)


def lay_over(below: Table, above: Table) -> Table:
    """`above` laid over `below`, table by table: a recipe's values over those it extends."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = lay_over(merged[key], value) if both else value
    return merged


def _apply_setting(table: Table, setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set {setting}: not KEY=VALUE", "Like --set training.epochs=50.")
    if not setting.isascii() and setting.encode(errors="replace").decode() != setting:
        raise SettingsError(f"--set {setting!a}: not UTF-8", "Check the terminal's encoding.")
    *sections, name = key.strip().split(".")
    if len(sections) > (2 if sections[:1] and sections[0] in _WITH_TABLES else 1):
        raise SettingsError(f"unknown key {_brief(key)}", "mednext recipes show cpu lists all.")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise SettingsError(
                f"--set {setting}: {section} holds a value, not a section",
                "Set its keys one by one, like training.epochs.",
            )
    value = _parse_value(text.strip())
    both = isinstance(value, dict) and isinstance(table.get(name), dict)
    table[name] = lay_over(table[name], value) if both else value


def read_settings(settings: Sequence[str]) -> Table:
    """The values of ``KEY=VALUE`` texts, as TOML has them.

    Raises:
        SettingsError: one has no ``=``, or is of a section.
    """
    table: Table = {}
    for setting in settings:
        _apply_setting(table, setting)
    return table


def _nested(keys: Sequence[str], value: Any) -> Table:  # noqa: ANN401 - any value of a recipe
    return {keys[0]: value if len(keys) == 1 else _nested(keys[1:], value)}


def _parse_value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    """The TOML value that `text` is, and nothing beside it; else the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _describe(
    problem: Problem, options: Mapping[str, str], known: Sequence[str], moved: Mapping[str, str]
) -> str:
    key = ".".join(problem.key)
    if key in moved:
        return f"unknown key {_brief(key)}: it is {moved[key]} now"
    if not problem.message:
        close = get_close_matches(_brief(key), known, n=1)
        return f"unknown key {_brief(key)}" + (f", did you mean {close[0]}?" if close else "")
    value = "" if isinstance(problem.value, dict) else f" {_brief(repr(problem.value))}"
    if key in options:
        return f"{options[key]}{value}: {problem.message}"
    return f"{key} ={value}: {problem.message}" if value else f"{key}: {problem.message}"


def _brief(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
