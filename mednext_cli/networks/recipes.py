"""Recipes, with the network's own table validated by its family: all that is wrong at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeGuard

from pydantic import ValidationError

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.plugins import find_plugins, nearest_plugin
from mednext_cli.networks.choice import completed
from mednext_cli.networks.registry import family_names, find_family
from mednext_cli.settings.callbacks import callback_settings
from mednext_cli.settings.recipe import DEFAULT_NETWORK, ModelSettings, Recipe, recipe_fields
from mednext_cli.settings.recipe_files import (
    Problem,
    RecipeSource,
    is_experiment,
    problems_in,
    read_source,
    refused,
)


def load_recipe(
    name_or_file: str,
    settings: Sequence[str] = (),
    options: Mapping[str, tuple[str, Any]] = MappingProxyType({}),
) -> Recipe:
    """Read a recipe and validate it; see `read_source`.

    Returns:
        The recipe with every value of its network's own table.

    Raises:
        SettingsError: unknown recipe, invalid TOML, or invalid values: all of them in one message,
            each with key, value, what is allowed and the nearest known key.
        PluginError: the network's package does not load.
    """
    return check_recipe(read_source(name_or_file, settings, options))


def check_recipe(source: RecipeSource) -> Recipe:
    """Validate the values of a recipe.

    Returns:
        The recipe with every value of its network's own table.

    Raises:
        SettingsError: all that is wrong with them.
        PluginError: the package of the network, or of a callback, does not load.
    """
    if is_experiment(source):
        raise SettingsError(
            f"{source.name} is an experiment of several arms, not a recipe of one training",
            "Run it with mednext experiment.",
        )
    problems: list[Problem] = []
    try:
        recipe = Recipe.model_validate(source.values)
    except ValidationError as error:
        problems += problems_in(error)
    model = source.values.get("model", {})
    name = model.get("network", DEFAULT_NETWORK) if isinstance(model, dict) else ""
    if isinstance(name, str) and isinstance(model, dict):
        problems += [*_of_tables(name, model), *_of_options(name, source)]
    problems += _of_plugins(source.values, "loss", "terms", "losses")
    problems += _of_callbacks(source.values)
    if problems:
        told = [_meant(_unknown(problem), source) for problem in problems]
        raise refused(source, told, _keys(name, source.values), _moved(name))
    return completed(recipe)


def network_keys(name: object) -> list[str]:
    """The keys of a network's own table; none where there is no such network."""
    return list(find_family(name).Settings.model_fields) if _is_installed(name) else []


def _is_installed(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name in family_names()


def _keys(name: object, values: Mapping[str, Any]) -> list[str]:
    own = [f"model.{name}.{key}" for key in network_keys(name)]
    own += [
        f"callbacks.{callback}.{key}"
        for callback in _named_callbacks(values)
        for key in callback_settings(callback).model_fields
    ]
    return [*recipe_fields(), *own]


def _moved(name: object) -> dict[str, str]:
    """Keys of earlier versions, which had a network's own keys in the section of the model."""
    own = {f"model.{key}": f"model.{name}.{key}" for key in network_keys(name)}
    return {**own, "model.kernels": "model.operators"}


def _unknown(problem: Problem) -> Problem:
    """Below `model`, what is neither a key nor a network's table is an unknown key."""
    section, *path = problem.key
    stray = section == "model" and len(path) == 1 and path[0] not in ModelSettings.model_fields
    return replace(problem, message="") if stray and not _is_installed(path[0]) else problem


def _meant(problem: Problem, source: RecipeSource) -> Problem:
    """A word in an option of one network's own was perhaps meant to choose the network."""
    section, network, *path = (*problem.key, "")
    is_option = ".".join(problem.key) in source.options
    if not (is_option and section == "model" and path[:-1] and isinstance(problem.value, str)):
        return problem
    return replace(
        problem,
        message=f"{problem.message}, of the network {network}; --network NAME or a recipe "
        "chooses another",
    )


def _of_tables(name: str, model: Mapping[str, Any]) -> list[Problem]:
    tables = {key: table for key, table in model.items() if isinstance(table, dict)}
    problems = [Problem(("model", key)) for key in tables if key != name and not _is_installed(key)]
    if not _is_installed(name):
        known = f"there is no such network. {nearest_plugin(name, family_names())}"
        return [*problems, Problem(("model", "network"), known, name)]
    try:
        find_family(name).Settings.model_validate(tables.get(name, {}))
    except ValidationError as error:
        problems += problems_in(error, ("model", name))
    return problems


def _of_plugins(values: Mapping[str, Any], section: str, key: str, kind: str) -> list[Problem]:
    """Names in a list that no installed package brings; lists of another form are told already."""
    table = values.get(section)
    named = table.get(key) if isinstance(table, dict) else None
    known = [name for name, plugin in find_plugins(kind).items() if not plugin.refused]
    return [
        Problem((section, key), f"there is none of that name. {nearest_plugin(name, known)}", name)
        for name in (named if isinstance(named, list) else ())
        if isinstance(name, str) and name not in known
    ]


def _of_callbacks(values: Mapping[str, Any]) -> list[Problem]:
    """Names of which there are no callbacks, and what is wrong in the tables of the others."""
    problems = _of_plugins(values, "callbacks", "names", "callbacks")
    for name in _named_callbacks(values):
        try:
            callback_settings(name).model_validate(values["callbacks"].get(name, {}))
        except ValidationError as error:
            problems += problems_in(error, ("callbacks", name))
    return problems


def _named_callbacks(values: Mapping[str, Any]) -> list[str]:
    """Those of the recipe that are installed, each once."""
    table = values.get("callbacks")
    named = table.get("names") if isinstance(table, dict) else None
    known = {name for name, plugin in find_plugins("callbacks").items() if not plugin.refused}
    texts = [name for name in (named if isinstance(named, list) else ()) if isinstance(name, str)]
    return [name for name in dict.fromkeys(texts) if name in known]


def _of_options(name: str, source: RecipeSource) -> list[Problem]:
    """Options and settings of a key in another network's table, where it would do nothing."""
    paths = [tuple(key.split(".")) for key in (*source.options, *source.settings)]
    return [
        Problem(path, f"is of another network, the recipe's is {name}", {})
        for path in dict.fromkeys(paths)
        if path[0] == "model" and path[1:] and path[1] != name and _is_installed(path[1])
    ]
