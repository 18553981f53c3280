"""What prediction takes from a checkpoint's recipe; the rest of it is training's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.preprocessing.plan import first_problem

LARGEST_OVERLAP = 0.95  # 8,000 times the tiles of no overlap
Axis = Literal["superior_inferior", "anterior_posterior", "left_right"]
AXES: tuple[Axis, ...] = ("superior_inferior", "anterior_posterior", "left_right")


def _named_once(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    if len(set(axes)) != len(axes):
        raise ValueError("an axis is named twice")
    return axes


Overlap = Annotated[float, Field(strict=True, ge=0.0, le=LARGEST_OVERLAP)]
MirrorAxes = Annotated[tuple[Axis, ...], AfterValidator(_named_once)]


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
