"""The experiment as it lies in its folder: what a later call must be of, too."""

import logging
from collections.abc import Mapping
from typing import Any

from mednext_cli.experiments.arms import ResolvedArm, resolve_arms
from mednext_cli.experiments.layout import ExperimentFolder
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.settings.experiment import ExperimentRecipe, Transfer
from mednext_cli.settings.experiment_files import load_experiment, write_experiment
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.recipe import Recipe, is_resultless
from mednext_cli.settings.recipe_files import write_recipe

_ANEW = "Give another --out, or the recipe that it was begun with: experiment.toml in there."
_SHOWN = 3
logger = logging.getLogger(__name__)


def join_saved(
    folder: ExperimentFolder, experiment: ExperimentRecipe, arms: Mapping[str, ResolvedArm]
) -> ExperimentRecipe:
    """The experiment with the seeds, folds and arms that earlier calls had beside its own.

    More seeds, folds and arms change nothing of what is there; anything else would.

    Raises:
        SettingsError: another experiment was begun in this folder.
    """
    if not folder.experiment.is_file():
        return experiment
    begun = load_experiment(str(folder.experiment))
    differing = _differing(begun, resolve_arms(begun, str(folder.experiment)), experiment, arms)
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise SettingsError(
            f"{folder.path} holds another experiment ({'; '.join(differing[:_SHOWN])}{more})",
            _ANEW,
        )
    return experiment.model_copy(
        update={
            "seeds": tuple(dict.fromkeys((*begun.seeds, *experiment.seeds))),
            "folds": tuple(dict.fromkeys((*begun.folds, *experiment.folds))),
        }
    )


def save_experiment(
    folder: ExperimentFolder, experiment: ExperimentRecipe, arms: Mapping[str, ResolvedArm]
) -> None:
    """Write the experiment so that the folder alone says all: a resolved recipe for every arm.

    Raises:
        StorageError: the disk refuses.
    """
    for name, arm in arms.items():
        write_recipe(folder.recipe(name), arm.recipe)
    resolved = {
        name: arm.model_copy(update={"recipe": f"recipes/{name}", "settings": {}})
        for name, arm in experiment.arms.items()
    }
    update = {"recipe": "mednext", "settings": {}, "arms": resolved}
    write_experiment(folder.experiment, experiment.model_copy(update=update))


def _differing(
    begun: ExperimentRecipe,
    old: Mapping[str, ResolvedArm],
    asked: ExperimentRecipe,
    new: Mapping[str, ResolvedArm],
) -> list[str]:
    found = [
        f"{key}: {before} -> {after}"
        for key in ("dataset",)
        if (before := getattr(begun, key)) != (after := getattr(asked, key))
    ]
    found += _differing_transfer(begun.transfer, asked.transfer)
    for name in old:
        if name not in new:
            found.append(f"arm {name} is gone")
            continue
        before, after = (_values(one, arms) for one, arms in ((begun, old), (asked, new)))
        found += [
            f"arm {name}: {key}: {before[name].get(key)} -> {after[name].get(key)}"
            for key in {**before[name], **after[name]}
            if before[name].get(key) != after[name].get(key)
        ]
    return found


def _differing_transfer(begun: Transfer | None, asked: Transfer | None) -> list[str]:
    """Other numbers of cases are other runs; all else would change those that are there."""
    if begun is None:
        return []
    if asked is None:
        return ["transfer is gone"]
    return [
        f"transfer.{key}: {before} -> {after}"
        for key in ("dataset", "cache", "label_map", "budget", "settings")
        if (before := getattr(begun, key)) != (after := getattr(asked, key))
    ]


def _values(
    experiment: ExperimentRecipe, arms: Mapping[str, ResolvedArm]
) -> dict[str, dict[str, Any]]:
    """All that decides what the arms' runs are, but for seeds, dotted."""
    return {
        name: {
            **_of_recipe(arm.recipe),
            "start": arm.start,
            "growth": experiment.arms[name].growth,
        }
        for name, arm in arms.items()
    }


def _of_recipe(recipe: Recipe) -> dict[str, Any]:
    flat = flatten(recipe.model_dump(mode="json"))
    return {
        key: value
        for key, value in flat.items()
        if not is_resultless(key) and key != "training.seed"
    }
