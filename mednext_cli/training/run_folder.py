"""The folder of one run, and what lies where in it."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.foundation.files import storage_error
from mednext_cli.foundation.locks import LOCK_NAME

BEGINNING = "started from the checkpoint with SHA-256"
"""How the remark of a recipe.toml begins that says which weights the run began with."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """``RUNS/NAME/S-k3/fold0/`` and what is in it."""

    path: Path

    @property
    def last(self) -> Path:
        """The newest state: weights, optimiser, progress."""
        return self.path / "checkpoint_last.pt"

    @property
    def best(self) -> Path:
        """The state with the best moving average of the patch Dice."""
        return self.path / "checkpoint_best.pt"

    @property
    def earlier_best(self) -> Path:
        """The best state of a run that lost its newest and was begun anew."""
        return self.path / "checkpoint_best_earlier.pt"

    @property
    def recipe(self) -> Path:
        """The resolved recipe, and in comments what was changed on the way."""
        return self.path / "recipe.toml"

    @property
    def operators(self) -> Path:
        """Which operators were measured to be the fastest when the run began; may be missing."""
        return self.path / "operators.json"

    @property
    def precision(self) -> Path:
        """What `training.precision = "auto"` was measured to be on a CPU; may be missing."""
        return self.path / "precision.json"

    @property
    def log(self) -> Path:
        """A row an epoch."""
        return self.path / "log.csv"

    @property
    def lines(self) -> Path:
        """A line an epoch, as it ended; what a killed run did again stands there twice."""
        return self.path / "training.log"

    @property
    def plot(self) -> Path:
        """Loss, Dice, learning rate and seconds as curves."""
        return self.path / "progress.png"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def callbacks(self) -> Path:
        """A folder for each callback's own notes; may be missing."""
        return self.path / "callbacks"

    @property
    def validation(self) -> Path:
        """Label maps and scores of the fold's cases, predicted whole."""
        return self.path / "validation"

    @property
    def scores(self) -> Path:
        """The scores of these cases; missing until they are predicted, but for some that failed."""
        return self.validation / "cases.csv"


def run_folder(runs: Path, dataset: str, label: str, fold: str) -> RunFolder:
    """The folder of a dataset, network (by its label) and fold."""
    return RunFolder(runs / dataset / label / f"fold{fold}")


def has_begun(folder: RunFolder) -> bool:
    """Whether there is a state to go on from.

    Raises:
        StorageError: no such folder is possible here, or it may not be looked into.
    """
    try:
        return folder.last.is_file()
    except OSError as error:
        raise storage_error(folder.path, error) from error


def empty(folder: RunFolder) -> None:
    """Remove what an earlier run left, but for the lock, which is held.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        for path in folder.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK_NAME:
                path.unlink()
    except OSError as error:
        raise storage_error(folder.path, error) from error


def set_best_aside(folder: RunFolder) -> None:
    """Keep the best state of a run whose newest is gone: training anew would replace it.

    Raises:
        StorageError: the disk refuses.
    """
    if not folder.best.is_file():
        return
    try:
        folder.best.replace(folder.earlier_best)
    except OSError as error:
        raise storage_error(folder.earlier_best, error) from error
    logger.warning(
        "%s is gone: training begins anew, and the best state so far is kept as %s",
        folder.last,
        folder.earlier_best.name,
    )
