"""Go on with a run where it stopped, if it is still the same run."""

import logging
import shlex

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.progress import Change, Progress
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training import same_run
from mednext_cli.training.initialise import Start
from mednext_cli.training.optimiser import load_optimiser
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.state import LAST_WEIGHTS, TrainingState

logger = logging.getLogger(__name__)


def resume(state: TrainingState, folder: RunFolder, start: Start | None, extend: bool) -> bool:
    """Bring `state` to where the run's last checkpoint stands.

    Args:
        state: as the run is asked for now.
        folder: of the run; has a last checkpoint.
        start: the weights to begin with, as they are asked for now.
        extend: whether the number of epochs may be another than the run was begun with.

    Returns:
        Whether the recipe has changed, so that the state is to be saved.

    Raises:
        SettingsError: the run was begun with another recipe, plan, split, cases or initial
            checkpoint, or for other epochs.
        CheckpointError: the checkpoint is damaged or of another network.
    """
    checkpoint = _load(folder)
    begun, progress = checkpoint.recipe or Recipe(), checkpoint.progress
    _check_counts(folder, progress, begun)
    same_run.check_recipe(folder, begun, state)
    same_run.check_start(folder, checkpoint, start)
    finished = progress.is_finished(state.recipe.training)
    same_run.check_cases(folder, checkpoint, state, finished)
    same_run.check_plan(folder, checkpoint, state.plan)
    same_run.check_epochs(folder, begun, state.recipe, progress, extend)
    _put_in_place(state, folder, checkpoint, progress)
    logger.info("%s: carrying on after iteration %d", folder.path, progress.iteration)
    return _adopt_recipe(state, begun)


def _load(folder: RunFolder) -> Checkpoint:
    try:
        return load_checkpoint(folder.last)
    except CheckpointError as error:
        raise CheckpointError(error.message, _way_out(folder)) from error


def _way_out(folder: RunFolder) -> str:
    """What to do about a last checkpoint that cannot be used."""
    try:
        epoch = load_checkpoint(folder.best).progress.epochs
    except CheckpointError:
        return "Begin anew with --restart."
    best, last = (shlex.quote(str(path)) for path in (folder.best, folder.last))
    return f"Go on from epoch {epoch} (cp {best} {last}), or begin anew with --restart."


def _damaged(folder: RunFolder, reason: object) -> CheckpointError:
    return CheckpointError(f"{folder.last} is damaged: {reason}", _way_out(folder))


def _check_counts(folder: RunFolder, progress: Progress, begun: Recipe) -> None:
    """Raise `CheckpointError` unless iterations and epochs are of one run."""
    steps = begun.training.iterations_per_epoch
    fewest = 0 if begun.training.minutes is None else -steps  # minutes may end within an epoch
    if not fewest <= progress.iteration - progress.epochs * steps <= steps:
        raise _damaged(folder, f"{progress.iteration} iterations, {progress.epochs} epochs")


def _put_in_place(
    state: TrainingState, folder: RunFolder, checkpoint: Checkpoint, progress: Progress
) -> None:
    if checkpoint.network != state.spec or not checkpoint.optimiser:
        raise CheckpointError(
            f"{folder.last} is not a training state of this network", "Begin anew with --restart."
        )
    try:
        load_weights(state, checkpoint)
        name = state.recipe.training.optimiser
        load_optimiser(state.optimiser, name, checkpoint.optimiser[name])
        scaler = checkpoint.optimiser["scaler"]
        if scaler and state.precision.scaler.is_enabled():
            state.precision.scaler.load_state_dict(scaler)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise _damaged(folder, str(error).partition("\n")[0]) from error
    state.origin, state.progress = checkpoint.origin or state.origin, progress


def load_weights(state: TrainingState, checkpoint: Checkpoint) -> None:
    """Give the state a checkpoint's weights, and their average where the recipe has one.

    Raises:
        KeyError, RuntimeError: they do not fit. ValueError: they are not finite.
    """
    saved = checkpoint.state_dict
    if state.average is not None and checkpoint.optimiser is not None:
        state.average.load_state_dict(checkpoint.state_dict)
        saved = checkpoint.optimiser[LAST_WEIGHTS]
    state.network.load_state_dict(saved)
    if not state.has_finite_weights():
        raise ValueError("the weights of the last step are not finite")


def _adopt_recipe(state: TrainingState, begun: Recipe) -> bool:
    """Note what is changed from here on; what only training heeds, not where that is over."""
    asked = state.recipe
    state.recipe = asked.model_copy(update={"init": begun.init})  # where the weights lay then
    if state.finished:
        free = ("inference", "description", "callbacks")
        update = {name: getattr(asked, name) for name in free}
        state.recipe = begun.model_copy(update=update)
    before, after = (flatten(recipe.model_dump(mode="json")) for recipe in (begun, state.recipe))
    changes = [
        Change(
            setting=key,
            before=before.get(key),
            after=after.get(key),
            iteration=state.progress.iteration,
        )
        for key in before | after
        if before.get(key) != after.get(key)
    ]
    state.note(changes=(*state.progress.changes, *changes))
    return bool(changes)
