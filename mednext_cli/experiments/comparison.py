"""Arms against each other, paired over cases: comparison.csv."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
from scipy import stats

from mednext_cli.evaluation.ranking.ranks import correct_holm, gains
from mednext_cli.evaluation.tables.bootstrap import (
    Values,
    draw_weights,
    mean_where_defined,
    weighted_means,
)
from mednext_cli.experiments.columns import SCORES
from mednext_cli.experiments.layout import RunKey
from mednext_cli.experiments.scores import FoldScores, regions_of
from mednext_cli.foundation.columns import LARGER, Column

_SAMPLES, _SEED = 2000, 0


@dataclass(frozen=True)
class ComparisonRow:
    """One row of comparison.csv; `columns.COMPARISON` says what each field means."""

    metric: str
    region: str
    arm: str
    against: str
    cases: int = 0
    seeds: int = 0
    difference: float = nan
    ci95_low: float = nan
    ci95_high: float = nan
    spread_over_seeds: float = nan
    better_cases: int = 0
    worse_cases: int = 0
    p: float = nan
    p_holm: float = nan


def compare_arms(folds: Sequence[FoldScores], arms: Sequence[str]) -> tuple[ComparisonRow, ...]:
    """Compare all pairs of arms; those with the first arm come first.

    Cases are the unit: each one's scores are averaged over the seeds that both arms have, never
    pooled as if seeds were cases. What the choice of a seed does to the difference stands apart.

    Args:
        folds: scores of whole runs.
        arms: their names, in the order of the recipe.
    """
    rows: list[ComparisonRow] = []
    for column in SCORES:
        for region in regions_of(folds):
            rows += _with_holm([
                _compare(folds, column, region, arm, against)
                for against, arm in combinations(arms, 2)
            ])  # fmt: skip
    return tuple(rows)


def _with_holm(rows: Sequence[ComparisonRow]) -> Iterator[ComparisonRow]:
    corrected = correct_holm(np.array([row.p for row in rows]))
    for row, p_holm in zip(rows, corrected, strict=True):
        yield replace(row, p_holm=float(p_holm))


def _compare(
    folds: Sequence[FoldScores], column: Column, region: str, arm: str, against: str
) -> ComparisonRow:
    row = ComparisonRow(column.name, region, arm, against)
    pairs = [
        pair
        for fold in folds
        if (pair := _pair(fold, column.name, region, arm, against)) is not None
    ]
    if not pairs:
        return row
    larger = column.better == LARGER
    values = np.concatenate([mean_where_defined(pair.values, axis=1) for pair in pairs])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return row
    gain = gains(values, (0, 1), larger_is_better=larger)
    return replace(
        row,
        cases=len(values),
        seeds=min(len(pair.seeds) for pair in pairs),
        spread_over_seeds=_spread(pairs),
        better_cases=int((gain > 0).sum()),
        worse_cases=int((gain < 0).sum()),
        p=_signed_rank_p(gain),
        **_mean_and_interval(values[:, 0] - values[:, 1]),
    )


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two arms in one fold: (cases, seeds that both have, two) of a metric."""

    seeds: tuple[int, ...]
    values: Values


def _pair(fold: FoldScores, metric: str, region: str, arm: str, against: str) -> _Pair | None:
    if region not in regions_of([fold]):
        return None
    of_arm, of_other = (
        [key.seed for key in fold.runs if key.arm == name] for name in (arm, against)
    )
    seeds = tuple(seed for seed in of_arm if seed in of_other)
    if not seeds:
        return None
    per_case = fold.per_case(metric, region)
    places = [
        [fold.runs.index(RunKey(name, seed, fold.fold)) for name in (arm, against)]
        for seed in seeds
    ]
    return _Pair(seeds, per_case[:, places])


def _spread(pairs: Sequence[_Pair]) -> float:
    """Standard deviation of the differences of the seeds, of those that all folds have."""
    everywhere = set.intersection(*(set(pair.seeds) for pair in pairs))
    differences = []
    for seed in everywhere:
        of_seed = np.concatenate([pair.values[:, pair.seeds.index(seed)] for pair in pairs])
        found = of_seed[:, 0] - of_seed[:, 1]
        differences.append(float(mean_where_defined(found, axis=0)))
    return float(np.std(differences, ddof=1)) if len(differences) > 1 else nan


def _mean_and_interval(differences: Values) -> Mapping[str, Any]:
    if len(differences) < 2:
        return {"difference": float(differences.mean())}
    weights = draw_weights(len(differences), _SAMPLES, _SEED)
    low, high = np.percentile(weighted_means(weights, differences[:, None]), (2.5, 97.5))
    return {
        "difference": float(differences.mean()),
        "ci95_low": float(low),
        "ci95_high": float(high),
    }


def _signed_rank_p(gain: Values) -> float:
    """Two-sided; exact where there are few cases and no ties, as SciPy decides."""
    differing = gain[gain != 0]
    return float(stats.wilcoxon(differing).pvalue) if len(differing) else nan
