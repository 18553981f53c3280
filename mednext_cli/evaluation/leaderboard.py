"""Rank methods by their cases.csv: means, ranks within cases, tests, and how stable it all is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from mednext_cli.evaluation.bootstrap import (
    Values,
    draw_weights,
    mean_where_defined,
    weighted_means,
)
from mednext_cli.evaluation.columns import (
    LARGER,
    LEADERBOARD_COLUMNS,
    PAIRWISE_COLUMNS,
    find_metric,
)
from mednext_cli.evaluation.methods import Comparison, read_methods
from mednext_cli.evaluation.ranking import (
    compare_signed_ranks,
    correct_holm,
    rank,
    rank_within_cases,
)
from mednext_cli.evaluation.summary import OVERALL
from mednext_cli.evaluation.tables_csv import write_table
from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.foundation.files import make_folder

MISSING_CHOICES = ("drop", "worst")
_SAMPLES, _SEED, _ALPHA = 1000, 0, 0.05


@dataclass(frozen=True)
class LeaderboardSpec:
    """What to rank.

    Attributes:
        tables: cases.csv, or the folder that holds it, by name of the method.
        out: folder for leaderboard.csv and pairwise.csv.
        metrics: columns of cases.csv to rank by.
        missing: a case that a method lacks: "drop" leaves it out for all, "worst" scores it so.
    """

    tables: Mapping[str, Path]
    out: Path
    metrics: tuple[str, ...] = ("dice", "surface_dice")
    missing: str = "drop"


@dataclass(frozen=True)
class LeaderboardRow:
    """One row of leaderboard.csv; `columns.LEADERBOARD_COLUMNS` says what each field means."""

    metric: str
    region: str
    method: str
    cases: int
    mean: float
    rank: int
    mean_of_ranks: float
    rank_then_aggregate: int
    wins: int
    significance_rank: int
    rank_low: float
    rank_high: float
    undefined: int
    as_worst: int


@dataclass(frozen=True)
class PairwiseRow:
    """One row of pairwise.csv; `columns.PAIRWISE_COLUMNS` says what each field means."""

    metric: str
    region: str
    method: str
    other: str
    cases: int
    mean_difference: float
    better_cases: int
    worse_cases: int
    p: float
    p_holm: float
    significant: int


@dataclass(frozen=True)
class LeaderboardResult:
    """What was found and where it stands.

    Attributes:
        folder: holds leaderboard.csv and pairwise.csv.
        rows: of leaderboard.csv; by metric and region, the best method first.
        pairs: of pairwise.csv.
        cases: the cases that counted.
    """

    folder: Path
    rows: tuple[LeaderboardRow, ...]
    pairs: tuple[PairwiseRow, ...]
    cases: tuple[str, ...]


def rank_methods(spec: LeaderboardSpec) -> LeaderboardResult:
    """Rank the methods by every metric, in every region and overall, and write the tables.

    Raises:
        SettingsError: no method, an unknown metric, or another word than drop and worst.
        DatasetError: a cases.csv cannot be used, or the methods share nothing.
        StorageError: the tables cannot be written.
    """
    if not spec.tables:
        raise SettingsError("no methods to rank", "Give NAME=cases.csv, one a method.")
    if spec.missing not in MISSING_CHOICES:
        known = dict.fromkeys(MISSING_CHOICES)
        raise SettingsError(f"--missing {spec.missing}", nearest(spec.missing, known))
    metrics = [find_metric(name) for name in dict.fromkeys(spec.metrics)]
    comparison = read_methods(spec.tables, metrics, drop_missing=spec.missing == "drop")
    weights = draw_weights(len(comparison.cases), _SAMPLES, _SEED)
    rows: list[LeaderboardRow] = []
    pairs: list[PairwiseRow] = []
    for metric in range(len(metrics)):
        for region in (*range(len(comparison.regions)), None):
            found = _compare_pairs(comparison, metric, region)
            rows += _rank(comparison, metric, region, weights, found)
            pairs += found
    folder = make_folder(spec.out)
    write_table(folder / "leaderboard.csv", LEADERBOARD_COLUMNS, map(asdict, rows))
    write_table(folder / "pairwise.csv", PAIRWISE_COLUMNS, map(asdict, pairs))
    return LeaderboardResult(folder, tuple(rows), tuple(pairs), comparison.cases)


def _rank(
    comparison: Comparison,
    metric: int,
    region: int | None,
    weights: Values,
    pairs: Sequence[PairwiseRow],
) -> list[LeaderboardRow]:
    """All ranks by one metric in one region, or overall, the best mean first."""
    larger = comparison.metrics[metric].better == LARGER
    values = comparison.of_regions(metric, region)
    means = mean_where_defined(mean_where_defined(values, axis=0), axis=0)
    ranks = rank(means, larger_is_better=larger)
    of_ranks = rank_within_cases(comparison.per_case(metric, region), larger_is_better=larger)
    then_aggregated = rank(of_ranks, larger_is_better=False)
    wins = np.array([sum(pair.significant for pair in pairs if pair.method == name)
                     for name in comparison.methods], float)  # fmt: skip
    significance = rank(wins, larger_is_better=True)
    low, high = _rank_intervals(values, weights, larger_is_better=larger)
    chosen = slice(None) if region is None else slice(region, region + 1)
    undefined = comparison.undefined[:, chosen, metric].sum(axis=(0, 1))
    rows = [
        LeaderboardRow(
            metric=comparison.metrics[metric].name,
            region=_name(comparison, region),
            method=name,
            cases=len(comparison.cases),
            mean=float(means[m]),
            rank=int(ranks[m]),
            mean_of_ranks=float(of_ranks[m]),
            rank_then_aggregate=int(then_aggregated[m]),
            wins=int(wins[m]),
            significance_rank=int(significance[m]),
            rank_low=float(low[m]),
            rank_high=float(high[m]),
            undefined=int(undefined[m]),
            as_worst=comparison.as_worst[name],
        )
        for m, name in enumerate(comparison.methods)
    ]
    return sorted(rows, key=lambda row: row.rank)


def _rank_intervals(
    values: Values, weights: Values, *, larger_is_better: bool
) -> tuple[Values, Values]:
    """2.5 % and 97.5 % percentiles of the rank by mean under the bootstrap samples.

    Args:
        values: (cases, regions, methods).
        weights: (samples, cases).
        larger_is_better: whether a larger mean ranks before a smaller one.
    """
    by_region = [weighted_means(weights, values[:, r]) for r in range(values.shape[1])]
    means = mean_where_defined(np.stack(by_region), axis=0)
    low, high = np.percentile(rank(means, larger_is_better=larger_is_better), (2.5, 97.5), axis=0)
    return low, high


def _compare_pairs(comparison: Comparison, metric: int, region: int | None) -> list[PairwiseRow]:
    """Test every ordered pair of methods, with Holm's correction over all of them."""
    larger = comparison.metrics[metric].better == LARGER
    values = comparison.per_case(metric, region)
    pairs = list(permutations(range(len(comparison.methods)), 2))
    p_values = np.array(
        [compare_signed_ranks(values[:, a], values[:, b], larger_is_better=larger)
         for a, b in pairs]
    )  # fmt: skip
    corrected = correct_holm(p_values)
    return [
        _pair(comparison, metric, region, values[:, pair], pair, (p_values[i], corrected[i]))
        for i, pair in enumerate(pairs)
    ]


def _pair(
    comparison: Comparison,
    metric: int,
    region: int | None,
    values: Values,
    pair: tuple[int, int],
    p_values: tuple[float, float],
) -> PairwiseRow:
    difference = values[:, 0] - values[:, 1]
    difference = difference[np.isfinite(difference)]
    gain = difference if comparison.metrics[metric].better == LARGER else -difference
    return PairwiseRow(
        metric=comparison.metrics[metric].name,
        region=_name(comparison, region),
        method=comparison.methods[pair[0]],
        other=comparison.methods[pair[1]],
        cases=len(difference),
        mean_difference=float(difference.mean()) if len(difference) else float("nan"),
        better_cases=int((gain > 0).sum()),
        worse_cases=int((gain < 0).sum()),
        p=float(p_values[0]),
        p_holm=float(p_values[1]),
        significant=int(p_values[1] <= _ALPHA),
    )


def _name(comparison: Comparison, region: int | None) -> str:
    return OVERALL if region is None else comparison.regions[region]
