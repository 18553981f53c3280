"""What prediction takes from a checkpoint's recipe; the rest of it is training's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.settings.mirror_axes import AXES, MirrorAxes
from mednext_cli.settings.problems import first_problem
from mednext_cli.settings.recipe import LARGEST_OVERLAP

Overlap = Annotated[float, Field(strict=True, ge=0.0, le=LARGEST_OVERLAP)]


@dataclass(frozen=True)
class Habits:
    """How a network was made to predict.

    Attributes:
        mirror_axes: axes of (D, H, W) it was trained to be indifferent to.
        mirror: whether to average mirrored predictions.
        overlap: of the tiles of the sliding window.
    """

    mirror_axes: tuple[int, ...]
    mirror: bool
    overlap: float


class _Inference(BaseModel):
    overlap: Overlap = 0.5
    mirror: Annotated[bool, Field(strict=True)] = True


class _Augmentation(BaseModel):
    mirror_axes: MirrorAxes = ()


class _Recipe(BaseModel):
    inference: _Inference = _Inference()
    augmentation: _Augmentation = _Augmentation()


def read_habits(recipe: Mapping[str, Any], source: Path) -> Habits:
    """The habits in a recipe's JSON; `source` names it in errors.

    Raises:
        CheckpointError: a value that cannot be.
    """
    try:
        read = _Recipe.model_validate(recipe)
    except ValidationError as error:
        raise CheckpointError(
            f"{source} holds a recipe that cannot be: {first_problem(error)}",
            "Take another copy of it, or use the version of mednext that wrote it.",
        ) from error
    axes = tuple(AXES.index(axis) for axis in read.augmentation.mirror_axes)
    return Habits(axes, read.inference.mirror, read.inference.overlap)
