"""The table of a cross-validation: Dice by region and fold, its mean and how far it spreads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mednext_cli.evaluation.tables.read_cases import read_cases
from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.training.columns import CROSS_VALIDATION, DICE_OF_FOLD

_DICE = "dice"


@dataclass(frozen=True)
class RegionAcrossFolds:
    """One row of cross_validation.csv; `columns.CROSS_VALIDATION` says what each field means."""

    region: str
    dice: Mapping[str, float]
    mean: float
    standard_deviation_folds: float
    mean_cases: float
    standard_deviation_cases: float
    cases: int

    def cells(self) -> dict[str, object]:
        """The row by column, with one column a fold."""
        values = {name: value for name, value in vars(self).items() if name != "dice"}
        return values | {column_of(fold): value for fold, value in self.dice.items()}


def column_of(fold: str) -> str:
    """The column of a fold: ``dice_fold0``."""
    return f"dice_fold{fold}"


def compare_folds(tables: Mapping[str, Path]) -> tuple[RegionAcrossFolds, ...]:
    """Dice of each region, and of their mean, in each fold and over all.

    Args:
        tables: the cases.csv of each fold's validation.

    Raises:
        DatasetError: one cannot be read.
    """
    by_fold = {fold: _read_dice(path) for fold, path in tables.items()}
    if not by_fold:
        return ()
    every = pd.concat(list(by_fold.values()), ignore_index=True)
    regions = [_row(name, every[name], by_fold) for name in every.columns]
    return (*regions, _overall(every, regions, by_fold))


def write_fold_scores(path: Path, rows: tuple[RegionAcrossFolds, ...]) -> None:
    """Write cross_validation.csv.

    Raises:
        StorageError: the file cannot be written.
    """
    columns = [column_of(fold) for fold in rows[0].dice]
    CROSS_VALIDATION.expand(DICE_OF_FOLD, columns).write(path, [row.cells() for row in rows])


def has_fold(path: Path, fold: str) -> bool:
    """Whether a table lies there that has the fold, however it was trained."""
    try:
        with path.open(encoding="utf-8", errors="replace") as table:
            return column_of(fold) in table.readline().rstrip().split(",")
    except FileNotFoundError:
        return False


def _read_dice(path: Path) -> pd.DataFrame:
    """(cases, regions), nan where a Dice is undefined."""
    table = read_cases(path, [_DICE])
    wide: pd.DataFrame = table.scores[_DICE].unstack("region")
    return wide.reindex(columns=list(table.regions))


def _row(
    region: str, cases: "pd.Series[float]", by_fold: Mapping[str, pd.DataFrame]
) -> RegionAcrossFolds:
    dice = {fold: float(table[region].mean()) for fold, table in by_fold.items()}
    return _summary(region, dice, cases, float(cases.mean()))


def _overall(
    every: pd.DataFrame, regions: list[RegionAcrossFolds], by_fold: Mapping[str, pd.DataFrame]
) -> RegionAcrossFolds:
    """Means over the regions; the spread over cases is that of the cases' means, as elsewhere."""
    dice = {fold: _mean(row.dice[fold] for row in regions) for fold in by_fold}
    mean = _mean(row.mean_cases for row in regions)
    return _summary(OVERALL, dice, every.mean(axis=1), mean)


def _mean(values: Iterable[float]) -> float:
    """Of those that are defined; nan where none is."""
    return float(pd.Series(list(values), dtype=float).mean())


def _summary(
    region: str, dice: Mapping[str, float], cases: "pd.Series[float]", mean_cases: float
) -> RegionAcrossFolds:
    folds = pd.Series(dice, dtype=float)
    return RegionAcrossFolds(
        region=region,
        dice=dice,
        mean=float(folds.mean()),
        standard_deviation_folds=float(folds.std()),
        mean_cases=mean_cases,
        standard_deviation_cases=float(cases.std()),
        cases=int(cases.count()),
    )
