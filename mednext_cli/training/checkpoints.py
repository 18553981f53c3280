"""A checkpoint with all that is in it checked: network, plan, recipe, progress."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint
from mednext_cli.preprocessing.plan_file import saved_plan
from mednext_cli.settings.problems import first_problem
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.state import Progress

_REMEDY = "Take another copy of it, or use the version of mednext that wrote it."


def read_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint and see that each part of it can be, and that they fit together.

    Imported weights have no plan and no recipe.

    Raises:
        CheckpointError: see `load_checkpoint`; or plan, recipe or progress cannot be.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.plan is not None:
        saved_plan(checkpoint.plan, checkpoint.architecture, path)
    if checkpoint.recipe is not None:
        _check_recipe(checkpoint.recipe, path)
    if "iteration" in checkpoint.progress:
        saved_progress(checkpoint.progress, path)
    return checkpoint


def _check_recipe(values: dict[str, Any], source: Path) -> None:
    try:
        Recipe.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(
            f"{source} holds a recipe that cannot be: {first_problem(error)}", _REMEDY
        ) from error


def saved_progress(values: dict[str, Any], source: Path) -> Progress:
    """How far the run of a checkpoint had come; `source` names it in errors.

    Raises:
        CheckpointError: a value that cannot be, or of another version.
    """
    known = {one.name for one in fields(Progress)}
    kept = {name: value for name, value in values.items() if name != "finished"}
    try:
        for name in kept.keys() - known:
            raise ValueError(f"{name} is not known")
        return _PROGRESS.validate_python(kept)
    except ValidationError as error:
        problem = first_problem(error)
    except ValueError as error:
        problem = str(error)
    raise CheckpointError(f"{source} holds a progress that cannot be: {problem}", _REMEDY)


_PROGRESS = TypeAdapter(Progress)
