"""Which checkpoints a model's path stands for: a file, a run, or the folds of a model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.inference.options import FOLD, Folds
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.checkpoint import load_checkpoint as _load

_LAST, _BEST = "checkpoint_last.pt", "checkpoint_best.pt"
_MOST_FOLDS = 100  # a number beyond is no number of folds
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint, and whether its run came to its end (a file by itself counts as finished)."""

    path: Path
    checkpoint: Checkpoint
    finished: bool = True


def find_checkpoints(path: Path, folds: Folds | None = None) -> list[FoundCheckpoint]:
    """The checkpoint file itself, a run folder's checkpoint, or those of a model's folds.

    Args:
        path: a file, a run folder (``S-k3/fold0``), or a folder of run folders (``S-k3``).
        folds: of a folder of run folders, those to take, finished or not; None takes all, and
            they must be there and finished.

    Raises:
        CheckpointError: there is none, or a fold is missing or not finished.
    """
    if not path.is_dir():
        return [FoundCheckpoint(path, _light(path))]
    own = _checkpoint_of(path)
    if own is not None:
        if not own.finished:
            logger.warning("%s is not finished: its best checkpoint so far is used", path)
        return [own]
    if not is_of_folds(path):
        raise CheckpointError(
            f"{path} holds no checkpoint", "Give a run folder like runs/NAME/S-k3/fold0."
        )
    return _all_folds(path) if folds is None else _chosen_folds(path, folds)


def is_of_folds(path: Path) -> bool:
    """Whether this is a folder of run folders."""
    return path.is_dir() and not _has_checkpoint(path) and any(map(_has_checkpoint, _runs(path)))


def _runs(path: Path) -> list[Path]:
    return sorted(run for run in path.glob("fold*/") if FOLD.fullmatch(run.name))


def _has_checkpoint(run: Path) -> bool:
    return (run / _BEST).is_file() or (run / _LAST).is_file()


def _checkpoint_of(run: Path) -> FoundCheckpoint | None:
    """The last checkpoint of a finished run, which its validation was made with; else the best."""
    best, last = run / _BEST, run / _LAST
    if last.is_file():
        checkpoint = _light(last)
        if checkpoint.finished or not best.is_file():
            return FoundCheckpoint(last, checkpoint, checkpoint.finished)
    return FoundCheckpoint(best, _light(best), False) if best.is_file() else None


def _light(path: Path) -> Checkpoint:
    """Without the optimiser's state, which is twice as large as the weights."""
    return replace(_load(path), optimiser=None)


def _chosen_folds(path: Path, folds: Folds) -> list[FoundCheckpoint]:
    found = []
    for fold in folds:
        run = _checkpoint_of(path / f"fold{fold}")
        if run is None:
            raise CheckpointError(f"{path}: fold{fold} has no checkpoint", _have(path))
        if not run.finished:
            logger.warning("%s is not finished: %s is used", path / f"fold{fold}", run.path.name)
        found.append(run)
    return found


def _all_folds(path: Path) -> list[FoundCheckpoint]:
    """The numbered folds; the run on every case only where it is alone."""
    there = {FOLD.fullmatch(run.name)[1]: run for run in _runs(path)}  # type: ignore[index]
    numbers = sorted(int(name) for name in there if name != "all")
    if not numbers:
        return _chosen_folds(path, ("all",))
    if "all" in there:
        logger.info("%s is left out; --folds all predicts with it alone", there["all"])
    found = {number: _checkpoint_of(path / f"fold{number}") for number in numbers}
    runs = {number: run for number, run in found.items() if run is not None}
    planned = max((_planned_folds(run.checkpoint) for run in runs.values()), default=0)
    missing = [
        f"fold{number} has no checkpoint"
        for number in range(max(planned, numbers[-1] + 1))
        if number not in runs
    ]
    unfinished = [f"fold{number} is not finished" for number in runs if not runs[number].finished]
    if missing or unfinished:
        text = ",".join(map(str, runs))
        raise CheckpointError(
            f"{path}: {', '.join(missing + unfinished)}",
            f"Finish them, or predict with what is there: --folds {text}.",
        )
    return list(runs.values())


def _planned_folds(checkpoint: Checkpoint) -> int:
    """Into how many folds its dataset was split; 0 where the checkpoint does not say."""
    folds = checkpoint.recipe.training.folds if checkpoint.recipe else 0
    return folds if folds <= _MOST_FOLDS else 0


def _have(path: Path) -> str:
    names = [run.name for run in _runs(path) if _has_checkpoint(run)]
    return f"There is {', '.join(names)}." if names else "Train it with mednext train --fold."


def check_folds(paths: Sequence[Path], folds: Folds | None) -> None:
    """Raise `SettingsError` where folds are chosen and no path is a folder of folds."""
    if folds is not None and not any(path.is_dir() and _runs(path) for path in paths):
        raise SettingsError(
            f"--folds is for a folder of folds, which {paths[0]} is not",
            "Give a folder like runs/NAME/S-k3, or leave --folds out.",
        )
