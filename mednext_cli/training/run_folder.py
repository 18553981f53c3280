"""The folder of one run: what lies where, and whether it belongs to the recipe at hand."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import make_folder
from mednext_cli.training.recipe import Recipe

# Changing these in a run that has begun changes no result already there.
_FREE_TO_CHANGE = {
    "description",
    "training.epochs",
    "training.workers",
    "training.checkpoint_minutes",
    "inference.overlap",
    "inference.mirror",
}


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


def begin_run(folder: RunFolder, restart: bool) -> None:
    """Make the folder ready: there, and empty with `restart`."""
    if restart and folder.path.exists():
        shutil.rmtree(folder.path)
    make_folder(folder.path)


def check_same_recipe(folder: RunFolder, begun: Recipe, recipe: Recipe) -> None:
    """Refuse to go on with a run in another way than it was begun.

    Raises:
        SettingsError: the recipes differ in what shapes the result; names the keys.
    """
    differing = differing_keys(begun, recipe)
    if differing:
        raise SettingsError(
            f"{folder.path} was begun with another recipe ({'; '.join(differing)})",
            "Add --restart to begin anew, or --runs to keep both.",
        )


def differing_keys(old: Recipe, new: Recipe) -> list[str]:
    """``key: old -> new`` of every setting that shapes the result."""
    before, after = _flatten(old.model_dump()), _flatten(new.model_dump())
    return [
        f"{key}: {before[key]} -> {after[key]}"
        for key in before
        if before[key] != after[key] and key not in _FREE_TO_CHANGE
    ]


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat.update(_flatten(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat
