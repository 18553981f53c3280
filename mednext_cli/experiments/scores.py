"""The scores of an experiment's whole runs, case by case."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mednext_cli.evaluation.ranking.methods import read_methods
from mednext_cli.evaluation.tables.bootstrap import Values, mean_where_defined
from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.experiments.columns import SCORES
from mednext_cli.experiments.layout import RunKey


@dataclass(frozen=True, eq=False)
class FoldScores:
    """All runs of one fold on the fold's cases.

    Attributes:
        fold: which.
        runs: that are whole.
        cases: ids.
        regions: names.
        values: (cases, regions, metrics, runs) for comparisons: a distance that is infinite stands
            1 mm beyond the largest finite one of any run; nan where undefined.
        own: the same with nan where a value is undefined or infinite, as summary.csv has it.
    """

    fold: int
    runs: tuple[RunKey, ...]
    cases: tuple[str, ...]
    regions: tuple[str, ...]
    values: Values
    own: Values

    def means(self, key: RunKey, region: str) -> dict[str, float]:
        """Of each metric over the cases; overall, the mean over the regions of these."""
        of_run = mean_where_defined(self.own[..., self.runs.index(key)], axis=0)
        chosen = of_run[self._of(region)]
        return {
            column.name: float(value)
            for column, value in zip(SCORES, mean_where_defined(chosen, axis=0), strict=True)
        }

    def per_case(self, metric: str, region: str) -> Values:
        """(cases, runs) of a metric; overall, each case's mean over the regions."""
        names = [column.name for column in SCORES]
        of_metric = self.values[:, :, names.index(metric)]
        return mean_where_defined(of_metric[:, self._of(region)], axis=1)

    def _of(self, region: str) -> slice:
        if region == OVERALL:
            return slice(None)
        index = self.regions.index(region)
        return slice(index, index + 1)


def read_scores(tables: Mapping[RunKey, Path]) -> tuple[FoldScores, ...]:
    """The scores of whole runs, by fold.

    Args:
        tables: the cases.csv of each run.

    Raises:
        DatasetError: a cases.csv cannot be used, or two were scored by different rules.
    """
    return tuple(
        _of_fold(fold, {key: path for key, path in tables.items() if key.fold == fold})
        for fold in dict.fromkeys(key.fold for key in tables)
    )


def regions_of(folds: Iterable[FoldScores]) -> list[str]:
    """The regions, and overall behind them."""
    return [*dict.fromkeys(region for fold in folds for region in fold.regions), OVERALL]


def _of_fold(fold: int, tables: Mapping[RunKey, Path]) -> FoldScores:
    found = read_methods(
        {key.name: path for key, path in tables.items()}, SCORES, drop_missing=True
    )
    return FoldScores(
        fold=fold,
        runs=tuple(tables),
        cases=found.cases,
        regions=found.regions,
        values=found.values,
        own=np.where(found.undefined, np.nan, found.values),
    )
