"""One run, as the files in its folder tell it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mednext_cli.foundation.cells import read_cell
from mednext_cli.foundation.errors import DatasetError, MednextError
from mednext_cli.foundation.files import read_text, read_toml
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.progress import is_out_of_patience
from mednext_cli.training.run_folder import BEGINNING, RunFolder

_OVERALL = "overall"  # of summary.csv
_REMARK = "# "
_ROUNDING = 1e-5  # of what is summed over log.csv
State = Literal["training", "trained", "validated"]


@dataclass(frozen=True)
class Run:
    """What is known of a run.

    Attributes:
        folder: of the run.
        recipe: its values by dotted key.
        remarks: what the recipe does not say of how the weights came to be.
        epochs: done.
        minutes: of running, up to the last epoch.
        is_over: whether its schedule is.
        patch_dice: largest moving average of the patch Dice; None without any.
        dice: mean Dice of whole cases by region, None where it is undefined; empty until scored.
        mean_dice: over the regions; None until scored.
        cases: ids of the scored cases.
    """

    folder: RunFolder
    recipe: Mapping[str, Any]
    remarks: tuple[str, ...]
    epochs: int
    minutes: float
    is_over: bool
    patch_dice: float | None
    dice: Mapping[str, float | None]
    mean_dice: float | None
    cases: frozenset[str]

    @property
    def is_begun_with_weights(self) -> bool:
        """Whether its first weights were a checkpoint's."""
        return any(remark.startswith(BEGINNING) for remark in self.remarks)

    @property
    def of_epochs(self) -> int | None:
        """Epochs of the recipe; None where minutes end the run."""
        return None if "training.minutes" in self.recipe else self.recipe.get("training.epochs")

    @property
    def state(self) -> State:
        """How far it is."""
        if self.dice:
            return "validated"
        return "trained" if self.is_over else "training"

    def cells(self, below: Path) -> dict[str, object]:
        """The row of `columns.RUNS`; the run's path is told from `below`."""
        path = self.folder.path
        inside = path.is_relative_to(below) and path != below
        return {
            "run": (path.relative_to(below) if inside else path).as_posix(),
            "dataset": path.resolve().parent.parent.name,
            "network": path.resolve().parent.name,
            "fold": path.resolve().name.removeprefix("fold"),
            "state": self.state,
            "epochs": self.epochs,
            "of_epochs": self.of_epochs,
            "minutes": self.minutes,
            "patch_dice": self.patch_dice,
            "dice": self.mean_dice,
            "cases": len(self.cases) or None,
        }


def read_run(folder: RunFolder) -> Run:
    """Read a run's recipe, log and scores.

    Raises:
        MednextError: one of them is damaged, or there is no recipe.
    """
    recipe = flatten(read_toml(folder.recipe))
    if not isinstance(recipe.get("training.epochs"), int):
        raise DatasetError(f"{folder.recipe} says no training.epochs", "Begin the run anew.")
    log = _read_table(folder.log) if folder.log.exists() else []
    moving = [_number(row, "dice_moving", folder.log) for row in log]
    is_over = is_out_of_patience(
        [math.nan if dice is None else dice for dice in moving], recipe.get("training.patience")
    )
    scores = _read_scores(folder.validation / "summary.csv")
    return Run(
        folder=folder,
        recipe=recipe,
        remarks=_remarks(folder.recipe),
        epochs=len(log),
        minutes=(_number(log[-1], "seconds", folder.log) or 0.0) / 60 if log else 0.0,
        is_over=is_over or _is_schedule_over(recipe, log, folder.log),
        patch_dice=max((dice for dice in moving if dice is not None), default=None),
        mean_dice=scores.pop(_OVERALL, None),
        dice=scores,
        cases=_case_ids(folder.scores) if scores else frozenset(),
    )


def _is_schedule_over(
    recipe: Mapping[str, Any], log: Sequence[Mapping[str, str]], path: Path
) -> bool:
    """By epochs, or by minutes, which are of steps alone."""
    minutes = recipe.get("training.minutes")
    if minutes is None:
        return len(log) >= int(recipe["training.epochs"])
    of_steps = "step_seconds" if all("step_seconds" in row for row in log) else "seconds"
    seconds = [_number(row, of_steps, path) or 0.0 for row in log]
    done = sum(seconds) if of_steps == "step_seconds" else max(seconds, default=0.0)
    return done >= 60 * float(minutes) * (1 - _ROUNDING)


def _remarks(path: Path) -> tuple[str, ...]:
    lines = read_text(path).split("\n")
    return tuple(line.removeprefix(_REMARK) for line in lines if line.startswith(_REMARK))


def _read_scores(path: Path) -> dict[str, float | None]:
    """Mean Dice by region and overall; empty where nothing is scored."""
    if not path.exists():
        return {}
    rows = [row for row in _read_table(path) if row.get("metric") == "dice"]
    return {_text(row, "region", path): _number(row, "mean", path) for row in rows}


def _case_ids(path: Path) -> frozenset[str]:
    return frozenset(_text(row, "case", path) for row in _read_table(path))


def _read_table(path: Path) -> list[dict[str, str]]:
    """The rows by column; what is too short lacks columns."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, what="a table"))))
    except csv.Error as error:
        raise DatasetError(f"{path} is no table: {error}", "Run the training again.") from error
    return [{name: cell for name, cell in row.items() if name and cell} for row in rows]


def _text(row: Mapping[str, str], column: str, path: Path) -> str:
    if column not in row:
        raise _damaged(path, f"a row has no {column}")
    return read_cell(row[column])


def _number(row: Mapping[str, str], column: str, path: Path) -> float | None:
    """A cell's number; None where it is nan."""
    try:
        value = float(_text(row, column, path))
    except ValueError as error:
        if isinstance(error, MednextError):
            raise
        raise _damaged(path, f"{column} is {row[column]!r}") from error
    return None if math.isnan(value) else value


def _damaged(path: Path, reason: str) -> DatasetError:
    return DatasetError(f"{path} is damaged: {reason}", "The next epoch or scoring writes it anew.")
