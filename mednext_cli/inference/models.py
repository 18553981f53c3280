"""The trained networks a prediction is made with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.foundation.files import hash_file
from mednext_cli.inference.habits import read_habits
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint
from mednext_cli.preprocessing.plan import Plan
from mednext_cli.preprocessing.plan_file import saved_plan

_LAST, _BEST = "checkpoint_last.pt", "checkpoint_best.pt"
_SHARED = (
    *("channels", "normalisation", "spacing_mm"),
    *("labels", "regions", "region_training", "region_values"),
)


@dataclass(frozen=True)
class Model:
    """A checkpoint and what it says about prediction.

    Attributes:
        path: the checkpoint file.
        sha256: of the file.
        mirror_axes: axes of (D, H, W) it was trained to be indifferent to.
        mirror: whether its recipe predicts with mirroring.
        overlap: of its recipe's sliding window.
    """

    path: Path
    sha256: str
    checkpoint: Checkpoint
    plan: Plan
    mirror_axes: tuple[int, ...]
    mirror: bool
    overlap: float


def load_models(paths: Sequence[Path]) -> list[Model]:
    """Load run folders' and files' checkpoints, all for the same task.

    Args:
        paths: checkpoint files, run folders (``S-k3/fold0``), or folders of run folders
            (``S-k3``), which give all their folds.

    Raises:
        CheckpointError: no usable checkpoint, or one without a plan (imported weights).
        SettingsError: the checkpoints cannot be averaged.
    """
    files = [file for path in paths for file in locate_checkpoints(path)]
    models = [load_model(file) for file in files]
    check_same_task(models)
    return models


def locate_checkpoints(path: Path) -> list[Path]:
    """A checkpoint file itself, a run folder's checkpoint, or those of all folds below it.

    Raises:
        CheckpointError: there is none.
    """
    if not path.is_dir():
        return [path]
    runs = [path, *sorted(path.glob("fold*/"))]
    found = [file for run in runs if (file := _checkpoint_of(run)) is not None]
    if not found:
        raise CheckpointError(
            f"{path} holds no checkpoint", "Give a run folder like runs/NAME/S-k3/fold0."
        )
    return found[:1] if found[0].parent == path else found


def _checkpoint_of(run: Path) -> Path | None:
    """The last checkpoint of a finished run, which its validation was made with; else the best."""
    best, last = run / _BEST, run / _LAST
    if last.is_file() and (not best.is_file() or load_checkpoint(last).progress.get("finished")):
        return last
    return best if best.is_file() else None


def load_model(file: Path) -> Model:
    """Load a checkpoint file.

    Raises:
        CheckpointError: no usable checkpoint, or one without a plan (imported weights).
    """
    checkpoint = load_checkpoint(file)
    if checkpoint.plan is None:
        raise CheckpointError(
            f"{file} does not say how its images are prepared (imported weights do not)",
            "Fine-tune it with mednext train --init, or predict with a run of mednext train.",
        )
    plan = saved_plan(checkpoint.plan, checkpoint.architecture, file)
    habits = read_habits(checkpoint.recipe or {}, file)
    return Model(
        path=file,
        sha256=hash_file(file),
        checkpoint=replace(checkpoint, optimiser=None),  # three times the weights
        plan=plan,
        mirror_axes=habits.mirror_axes,
        mirror=habits.mirror,
        overlap=habits.overlap,
    )


def check_same_task(models: list[Model]) -> None:
    """Raise `SettingsError` unless all models see the same images and predict the same labels."""
    first = models[0]
    for other in models[1:]:
        for name in _SHARED:
            one, two = getattr(first.plan, name), getattr(other.plan, name)
            if one != two:
                raise SettingsError(
                    f"{first.path} and {other.path} cannot be averaged: their {name} differ "
                    f"({_short(one)} and {_short(two)})",
                    "Predict with each into a folder of its own.",
                )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
