"""Experiments as TOML files: those that come with mednext, and the user's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import write_text
from mednext_cli.settings.experiment import ExperimentRecipe, experiment_keys
from mednext_cli.settings.recipe_files import (
    RecipeSource,
    Table,
    find_recipes,
    is_experiment,
    lay_over,
    problems_in,
    read_settings,
    read_source,
    refused,
)

_OWN_SETTINGS = "budget"  # of --set; everything else is of the arms' recipes


def load_experiment(name_or_file: str, settings: Sequence[str] = ()) -> ExperimentRecipe:
    """Read an experiment and validate it; its arms' recipes are validated by `resolve_arms`.

    Args:
        name_or_file: a shipped experiment's name or a TOML file.
        settings: ``KEY=VALUE`` of a training recipe, laid over all arms' settings but for what an
            arm says itself; ``budget.minutes`` and ``budget.epochs`` are the experiment's.

    Raises:
        SettingsError: there is none of this name, invalid TOML, or invalid values: all of them in
            one message, each with key, value, what is allowed and the nearest known key.
    """
    return read_experiment(read_source(name_or_file), settings)


def read_experiment(source: RecipeSource, settings: Sequence[str] = ()) -> ExperimentRecipe:
    """Validate the values of an experiment; see `load_experiment`."""
    if not is_experiment(source):
        raise SettingsError(
            f"{source.name} is a recipe of one training: it has no [arms]",
            "Give an experiment (mednext recipes ls), or use mednext train --recipe.",
        )
    values = _with_settings(source.values, read_settings(settings))
    try:
        experiment = ExperimentRecipe.model_validate(values)
    except ValidationError as error:
        raise refused(source, problems_in(error), _keys(values)) from error
    return _with_recipes_found(experiment, Path(source.name).parent)


def write_experiment(path: Path, experiment: ExperimentRecipe) -> None:
    """Write an experiment as TOML: what `load_experiment` reads back as the same."""
    write_text(path, dump_experiment(experiment))


def dump_experiment(experiment: ExperimentRecipe) -> str:
    """An experiment as TOML, what is left to its default left out."""
    return tomli_w.dumps(experiment.model_dump(mode="json", exclude_defaults=True))


def _with_settings(values: Table, given: Table) -> Table:
    """A budget that is given replaces the experiment's: minutes and epochs exclude each other."""
    own = {key: given.pop(key) for key in list(given) if key == _OWN_SETTINGS}
    settings = values.get("settings", {})
    below = settings if isinstance(settings, dict) else {}
    return {**values, **own, **({"settings": lay_over(below, given)} if given else {})}


def _keys(values: Table) -> list[str]:
    arms = values["arms"]
    return experiment_keys(list(arms) if isinstance(arms, dict) else [])


def _with_recipes_found(experiment: ExperimentRecipe, folder: Path) -> ExperimentRecipe:
    """With recipes named so that they are found from everywhere."""
    arms: dict[str, Any] = {
        name: arm
        if arm.recipe is None
        else arm.model_copy(update={"recipe": _found(arm.recipe, folder)})
        for name, arm in experiment.arms.items()
    }
    update: dict[str, Any] = {"recipe": _found(experiment.recipe, folder), "arms": arms}
    if (transfer := experiment.transfer) is not None and transfer.label_map is not None:
        beside = (folder / transfer.label_map).resolve()
        found = str(beside) if beside.is_file() else transfer.label_map
        update["transfer"] = transfer.model_copy(update={"label_map": found})
    return experiment.model_copy(update=update)


def _found(recipe: str, folder: Path) -> str:
    """A file beside the experiment by its whole path, unless it is a shipped one."""
    beside = (folder / f"{recipe.removesuffix('.toml')}.toml").resolve()
    for name, path in find_recipes().items():
        if path.resolve() == beside:
            return name
    return str(beside) if beside.is_file() else recipe
