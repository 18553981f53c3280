"""Whether a run that has begun and what is asked for now are the same run."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.choice import choose_network
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.progress import Origin, Progress
from mednext_cli.settings.recipe import Recipe, may_change
from mednext_cli.training.initialise import Start, is_begun_with
from mednext_cli.training.precision import Precision
from mednext_cli.training.precision_choice import CpuPrecision, kept_precision
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.schedule import learning_rate
from mednext_cli.training.state import TrainingState

_ANEW = "Add --restart to begin anew, or --runs to keep both."
_SHOWN = 3
logger = logging.getLogger(__name__)


def check_recipe(folder: RunFolder, begun: Recipe, state: TrainingState) -> None:
    """Raise `SettingsError` where the recipe asks for another training than was begun."""
    device = next(state.network.parameters()).device
    asked = {recipe.training.precision for recipe in (begun, state.recipe)}
    chosen_then = device.type == "cpu" and "auto" in asked
    on_cpu: CpuPrecision = kept_precision(folder) if chosen_then else "float32"
    before, after = (_as_used(recipe, device, on_cpu) for recipe in (begun, state.recipe))
    differing = [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in before | after
        if before.get(key) != after.get(key) and not may_change(key)
    ]
    if differing:
        raise SettingsError(
            f"{folder.path} was begun with another recipe ({'; '.join(differing)})", _ANEW
        )


def _as_used(recipe: Recipe, device: torch.device, on_cpu: CpuPrecision) -> dict[str, Any]:
    """The recipe's values, where it leaves a choice what is chosen on this device."""
    flat = flatten(recipe.model_dump(mode="json"))
    begins = {"upkern": recipe.init.upkern, "checkpoint": recipe.init.checkpoint}
    flat["init"] = next((way for way, path in begins.items() if path is not None), None)
    flat["model.deep_supervision"] = choose_network(recipe.model).deep_supervision
    if recipe.training.minutes is not None:  # of which the epochs say what part is warm-up
        flat["training.warmup_epochs"] = f"{recipe.training.warmup_share:.2%} of the minutes"
    name = recipe.training.precision
    try:
        precision = Precision(on_cpu if (name, device.type) == ("auto", "cpu") else name, device)
    except SettingsError:  # begun where there was more choice
        return flat
    flat["training.precision"] = str(precision.dtype).removeprefix("torch.")
    flat["training.epsilon"] = recipe.training.epsilon or precision.epsilon
    return flat


def check_epochs(
    folder: RunFolder, begun: Recipe, recipe: Recipe, progress: Progress, extend: bool
) -> None:
    """Another number of epochs is another schedule: it is said what that means, and asked for.

    Raises:
        SettingsError: it is another one, without `extend` or not above what is done.
    """
    before, after, done = begun.training.epochs, recipe.training.epochs, progress.epochs
    if before == after or recipe.training.minutes is not None:  # then it is not used
        return
    begun_with = f"{folder.path} was begun with {before} epochs, of which {done} are done"
    if after <= done:
        raise SettingsError(
            f"{begun_with}: it cannot end after {after}",
            f"Set training.epochs={before}, or more with --extend; {_ANEW[0].lower()}{_ANEW[1:]}",
        )
    settings = recipe.training
    now = progress.history[-1]["learning_rate"] if done else settings.learning_rate
    then = learning_rate(settings, done / after)
    what = (
        f"{begun_with}: to go on to {after} takes the learning rate from {now:.3g} to {then:.3g}, "
        "then down to 0, and replaces the checkpoints"
    )
    if not extend:
        raise SettingsError(
            what, "Add --extend to do so, --restart to begin anew, or --runs to keep both."
        )
    logger.warning("%s", what)


def check_start(folder: RunFolder, checkpoint: Checkpoint, start: Start | None) -> None:
    """Raise `SettingsError` if the run began with other weights than `start`.

    They are in the run by now: `start` may be left out, and its file may be gone.
    """
    origin = checkpoint.origin or Origin()
    if start is None or (origin.init and not start.file.exists()):
        return
    if is_begun_with(origin, start):
        return
    if start.is_option:
        raise SettingsError(
            f"{folder.path} was begun with another --init checkpoint than {start.file}",
            f"Leave --init out to go on with the run. {_ANEW}",
        )
    raise SettingsError(
        f"{folder.path} was begun with other weights than are in {start.file} now", _ANEW
    )


def check_cases(
    folder: RunFolder, checkpoint: Checkpoint, state: TrainingState, finished: bool
) -> None:
    """Weights half trained on one thing and half on another are of no use to anybody.

    A finished run may be validated with corrected images and labels, which is said.

    Raises:
        SettingsError: the run was begun with another split, or images or labels have changed.
    """
    begun = checkpoint.origin or Origin()
    _check_split(folder, begun, state.origin)
    before, now = begun.case_keys, state.origin.case_keys or {}
    if before is None:
        logger.info("%s does not say what its cases were made from: not checked", folder.last)
        return
    changed = [case_id for case_id in now if before.get(case_id) != now[case_id]]
    trained_on = set(changed) & set(state.origin.training_cases)
    what = (
        f"the images or labels of {_listed(changed)} are others than {folder.path} was begun with"
    )
    if changed and (trained_on or not finished):
        raise SettingsError(what, _ANEW)
    if changed:
        logger.warning("%s; the weights are as they were", what)


def _check_split(folder: RunFolder, begun: Origin, now: Origin) -> None:
    sides = ("training_cases", "validation_cases")
    before, after = (
        {name: set(getattr(origin, name)) for name in sides} for origin in (begun, now)
    )
    if before == after:
        return
    old, new = set().union(*before.values()), set().union(*after.values())
    parts = {
        "new": new - old,
        "gone": old - new,
        "on the other side": (before[sides[0]] ^ after[sides[0]]) & old & new,
    }
    what = "; ".join(f"{_listed(sorted(ids))} {name}" for name, ids in parts.items() if ids)
    raise SettingsError(f"{folder.path} was begun with another split ({what})", _ANEW)


def check_plan(folder: RunFolder, checkpoint: Checkpoint, plan: Plan) -> None:
    """Raise `SettingsError` if the run was begun with another plan."""
    if checkpoint.plan is None:
        raise CheckpointError(f"{folder.last} holds no plan", _ANEW)
    # Proposed mirror axes count where the recipe takes them, and recipes are compared.
    before, after = (
        flatten(values.model_dump(mode="json", exclude={"mirror_axes"}))
        for values in (checkpoint.plan, plan)
    )
    differing = [
        f"{key}: {_short(before.get(key))} -> {_short(after.get(key))}"
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]
    if differing:
        raise SettingsError(
            f"{folder.path} was begun with another plan ({'; '.join(differing)})", _ANEW
        )


def _listed(case_ids: Sequence[str]) -> str:
    more = f" and {len(case_ids) - _SHOWN} more" if len(case_ids) > _SHOWN else ""
    return f"{', '.join(case_ids[:_SHOWN])}{more}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
