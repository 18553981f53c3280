"""The rows of leaderboard.csv, pairwise.csv and consensus.csv, out of ranked tasks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from mednext_cli.evaluation.ranking.methods import Comparison
from mednext_cli.evaluation.ranking.ranks import Ranks, consensus, correct_pairs, gains
from mednext_cli.evaluation.ranking.task_ranking import RANKINGS, Rules, TaskRanking
from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.foundation.columns import LARGER

ALL_METRICS = "all"
_BY_MEAN, _BY_RANKS, _BY_TESTS = RANKINGS


@dataclass(frozen=True)
class LeaderboardRow:
    """One row of leaderboard.csv; `columns.LEADERBOARD` says what each field means."""

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
    rank_then_aggregate_low: float
    rank_then_aggregate_high: float
    significance_rank_low: float
    significance_rank_high: float
    rank_tau: float
    rank_then_aggregate_tau: float
    significance_rank_tau: float
    dataset: str


@dataclass(frozen=True)
class PairwiseRow:
    """One row of pairwise.csv; `columns.PAIRWISE` says what each field means."""

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
    dataset: str


@dataclass(frozen=True)
class ConsensusRow:
    """One row of consensus.csv; `columns.CONSENSUS` says what each field means."""

    ranking: str
    metric: str
    method: str
    tasks: int
    mean_rank: float
    consensus_rank: float


@dataclass(frozen=True, eq=False)
class RankedTask:
    """One metric in one region of one dataset, or in all its regions.

    Attributes:
        dataset: its name, "" where there is only one.
        comparison: the methods' scores.
        metric: place among the metrics.
        region: place among the regions; None for all together.
        ranking: what came of it.
    """

    dataset: str
    comparison: Comparison
    metric: int
    region: int | None
    ranking: TaskRanking

    @property
    def metric_name(self) -> str:
        """The column ranked by."""
        return self.comparison.metrics[self.metric].name

    @property
    def region_name(self) -> str:
        """The region, or overall."""
        return OVERALL if self.region is None else self.comparison.regions[self.region]


def rank_rows(task: RankedTask) -> list[LeaderboardRow]:
    """All ranks of one task, the best first."""
    comparison, found = task.comparison, task.ranking
    chosen = slice(None) if task.region is None else slice(task.region, task.region + 1)
    undefined = comparison.undefined[:, chosen, task.metric].sum(axis=(0, 1))
    intervals = {name: found.interval(name) for name in RANKINGS}
    taus = {name: found.stability(name) for name in RANKINGS}
    rows = [
        LeaderboardRow(
            metric=task.metric_name,
            region=task.region_name,
            method=name,
            cases=len(comparison.cases),
            mean=float(found.aggregated[m]),
            mean_of_ranks=float(found.aggregated_ranks[m]),
            wins=int(found.wins[m]),
            undefined=int(undefined[m]),
            as_worst=comparison.as_worst[name],
            rank=int(found.ranks[_BY_MEAN][m]),
            rank_then_aggregate=int(found.ranks[_BY_RANKS][m]),
            significance_rank=int(found.ranks[_BY_TESTS][m]),
            rank_low=float(intervals[_BY_MEAN][0][m]),
            rank_high=float(intervals[_BY_MEAN][1][m]),
            rank_then_aggregate_low=float(intervals[_BY_RANKS][0][m]),
            rank_then_aggregate_high=float(intervals[_BY_RANKS][1][m]),
            significance_rank_low=float(intervals[_BY_TESTS][0][m]),
            significance_rank_high=float(intervals[_BY_TESTS][1][m]),
            rank_tau=taus[_BY_MEAN],
            rank_then_aggregate_tau=taus[_BY_RANKS],
            significance_rank_tau=taus[_BY_TESTS],
            dataset=task.dataset,
        )
        for m, name in enumerate(comparison.methods)
    ]
    return sorted(rows, key=lambda row: row.rank)


def pair_rows(task: RankedTask, rules: Rules) -> list[PairwiseRow]:
    """The test of every ordered pair of methods."""
    holm = correct_pairs(task.ranking.p, "holm")
    methods = range(len(task.comparison.methods))
    return [_pair(task, pair, holm[pair], rules) for pair in permutations(methods, 2)]


def _pair(task: RankedTask, pair: tuple[int, int], p_holm: float, rules: Rules) -> PairwiseRow:
    comparison = task.comparison
    values = comparison.per_case(task.metric, task.region)
    difference = values[:, pair[0]] - values[:, pair[1]]
    difference = difference[np.isfinite(difference)]
    larger = comparison.metrics[task.metric].better == LARGER
    gain = gains(values, pair, larger_is_better=larger)
    return PairwiseRow(
        metric=task.metric_name,
        region=task.region_name,
        method=comparison.methods[pair[0]],
        other=comparison.methods[pair[1]],
        cases=len(difference),
        mean_difference=float(difference.mean()) if len(difference) else float("nan"),
        better_cases=int((gain > 0).sum()),
        worse_cases=int((gain < 0).sum()),
        p=float(task.ranking.p[pair]),
        p_holm=float(p_holm),
        significant=int(task.ranking.p_corrected[pair] <= rules.alpha),
        dataset=task.dataset,
    )


def consensus_rows(tasks: Sequence[RankedTask]) -> Iterator[ConsensusRow]:
    """The consensus of the regions of all datasets, by ranking and metric, the best first."""
    single = [task for task in tasks if task.region is not None]
    metrics = list(dict.fromkeys(task.metric_name for task in single))
    for ranking in RANKINGS:
        for metric in (*metrics, *((ALL_METRICS,) if len(metrics) > 1 else ())):
            ranks = [task.ranking.ranks[ranking] for task in single
                     if metric in (task.metric_name, ALL_METRICS)]  # fmt: skip
            yield from _rows_of_ranks(ranking, metric, np.stack(ranks), tasks[0].comparison)


def _rows_of_ranks(
    ranking: str, metric: str, ranks: Ranks, comparison: Comparison
) -> Iterable[ConsensusRow]:
    means, joined = consensus(ranks)
    rows = [
        ConsensusRow(ranking, metric, name, len(ranks), float(means[m]), float(joined[m]))
        for m, name in enumerate(comparison.methods)
    ]
    return sorted(rows, key=lambda row: row.consensus_rank)
