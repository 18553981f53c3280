"""Go on with a run where it stopped, if it is still the same run."""

import logging
from typing import Any

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint
from mednext_cli.training.recipe import Recipe
from mednext_cli.training.recipe_files import check_recipe
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.state import Progress, TrainingState

_ANEW = "Add --restart to begin anew, or --runs to keep both."
# Changing these in a run that has begun changes no result already there.
_FREE_TO_CHANGE = {
    "description",
    "training.epochs",
    "training.workers",
    "training.checkpoint_minutes",
    "inference.overlap",
    "inference.mirror",
}
logger = logging.getLogger(__name__)


def resume(state: TrainingState, folder: RunFolder) -> None:
    """Bring `state` to where the run's last checkpoint stands.

    Raises:
        SettingsError: the run was begun with another recipe, plan, split or initial checkpoint.
        CheckpointError: the checkpoint is damaged or of another network.
    """
    checkpoint = load_checkpoint(folder.last)
    _check_recipe(folder, check_recipe(checkpoint.recipe or {}, str(folder.last)), state.recipe)
    _check_origin(folder, checkpoint, state)
    if checkpoint.architecture != state.architecture or not checkpoint.optimiser:
        raise CheckpointError(
            f"{folder.last} is not a training state of this network", "Begin anew with --restart."
        )
    state.network.load_state_dict(checkpoint.state_dict)
    state.optimiser.load_state_dict(checkpoint.optimiser["adamw"])
    for group in state.optimiser.param_groups:  # of this device's precision, not of the last one's
        group["eps"] = state.recipe.training.epsilon or state.precision.epsilon
    if checkpoint.optimiser["scaler"] and state.precision.scaler.is_enabled():
        state.precision.scaler.load_state_dict(checkpoint.optimiser["scaler"])
    saved: dict[str, Any] = dict(checkpoint.progress)
    saved.pop("finished", None)
    state.progress = Progress(**saved)
    logger.info("%s: carrying on after iteration %d", folder.path, state.progress.iteration)


def _check_recipe(folder: RunFolder, begun: Recipe, recipe: Recipe) -> None:
    before, after = _flatten(begun.model_dump()), _flatten(recipe.model_dump())
    differing = [
        f"{key}: {before[key]} -> {after[key]}"
        for key in before
        if before[key] != after[key] and key not in _FREE_TO_CHANGE
    ]
    if differing:
        raise SettingsError(
            f"{folder.path} was begun with another recipe ({'; '.join(differing)})", _ANEW
        )


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat.update(_flatten(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat


def _check_origin(folder: RunFolder, checkpoint: Checkpoint, state: TrainingState) -> None:
    """Weights half trained on one thing and half on another are of no use to anybody."""
    begun = checkpoint.metadata.get("origin", {})
    for key, value in state.origin.items():
        if begun.get(key) != value:
            what = {"init": "--init checkpoint"}.get(key, key.replace("_", " "))
            raise SettingsError(f"{folder.path} was begun with another {what}", _ANEW)
    if checkpoint.plan != state.plan.model_dump(mode="json"):
        raise SettingsError(f"{folder.path} was begun with the cache of another plan", _ANEW)
