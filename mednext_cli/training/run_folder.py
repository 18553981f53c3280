"""The folder of one run, and what lies where in it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.foundation.files import storage_error
from mednext_cli.training.recipe import Recipe


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
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def log(self) -> Path:
        """A row an epoch."""
        return self.path / "log.csv"

    @property
    def plot(self) -> Path:
        """Loss, Dice and learning rate as curves."""
        return self.path / "progress.png"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def validation(self) -> Path:
        """Label maps and scores of the fold's cases, predicted whole."""
        return self.path / "validation"


def run_folder(runs: Path, dataset: str, recipe: Recipe, fold: str) -> RunFolder:
    """The folder of a dataset, model and fold."""
    return RunFolder(runs / dataset / recipe.model.label / f"fold{fold}")


def empty(folder: RunFolder) -> None:
    """Remove what an earlier run left.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        if folder.path.exists():
            shutil.rmtree(folder.path)
    except OSError as error:
        raise storage_error(folder.path, error) from error
