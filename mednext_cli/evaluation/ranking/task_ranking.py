"""The three rankings of one task (a metric in a region), and how far resampling moves them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mednext_cli.evaluation.choices import Aggregate, Correction, UndefinedScore
from mednext_cli.evaluation.ranking.ranks import (
    Ranks,
    compare_signed_ranks,
    correct_pairs,
    kendall_tau,
    rank,
    rank_cases,
)
from mednext_cli.evaluation.tables.bootstrap import (
    Values,
    count_draws,
    mean_where_defined,
    median_where_defined,
)

AGGREGATES: dict[Aggregate, Callable[[Values, int], Values]] = {
    "mean": mean_where_defined,
    "median": median_where_defined,
}
RANKINGS = ("rank", "rank_then_aggregate", "significance_rank")
_SAMPLED_AT_ONCE = 4_000_000  # values, which bounds memory to some ten times 32 MB


@dataclass(frozen=True)
class Rules:
    """What the rankings are made by.

    Attributes:
        aggregate: "mean" or "median", over cases.
        correction: of the p values, "holm" or "none".
        undefined: "last" ranks an undefined value last in its case, "drop" lets such a case rank
            nobody.
        alpha: level of the tests.
    """

    aggregate: Aggregate = "mean"
    correction: Correction = "holm"
    undefined: UndefinedScore = "last"
    alpha: float = 0.05


@dataclass(frozen=True, eq=False)
class Task:
    """The scores to rank by.

    Attributes:
        values: (cases, regions, methods).
        larger_is_better: whether a larger score is better.
    """

    values: Values
    larger_is_better: bool

    @property
    def per_case(self) -> Values:
        """(cases, methods): each case's mean over the regions."""
        return mean_where_defined(self.values, axis=1)


@dataclass(frozen=True, eq=False)
class TaskRanking:
    """Methods ranked three ways; every array ends in an axis of methods.

    Attributes:
        aggregated: mean or median of the scores.
        aggregated_ranks: mean or median of the ranks within cases.
        p: (methods, methods), that the first is better than the second.
        p_corrected: the same after the correction.
        wins: how many others each method beats.
        ranks: by the names in `RANKINGS`.
        sampled: (samples, methods), the same in every bootstrap sample; no samples of one case.
    """

    aggregated: Values
    aggregated_ranks: Values
    p: Values
    p_corrected: Values
    wins: Values
    ranks: dict[str, Ranks]
    sampled: dict[str, Ranks]

    def interval(self, ranking: str) -> tuple[Ranks, Ranks]:
        """2.5 % and 97.5 % percentiles of the ranks under resampling, by method; nan for a task
        of one case.
        """
        if len(self.sampled[ranking]) == 0:
            undefined = np.full(len(self.wins), np.nan)
            return undefined, undefined
        low, high = np.percentile(self.sampled[ranking], (2.5, 97.5), axis=0)
        return low, high

    def stability(self, ranking: str) -> float:
        """Mean Kendall's tau of the ranking with those of the bootstrap samples; nan if all tie."""
        taus = kendall_tau(self.ranks[ranking], self.sampled[ranking])
        return float(mean_where_defined(taus, axis=0))


def rank_task(task: Task, samples: NDArray[np.intp], rules: Rules) -> TaskRanking:
    """Rank the methods by all cases and by every bootstrap sample of them.

    Args:
        task: the scores.
        samples: (samples, cases), which cases each sample holds.
        rules: how to rank.
    """
    within = rank_cases(
        task.per_case,
        larger_is_better=task.larger_is_better,
        drop_undefined=rules.undefined == "drop",
    )
    everything = np.arange(len(task.values))[None]
    whole = _rank_samples(task, within, everything, rules)
    if len(task.values) == 1:
        samples = samples[:0]  # one case cannot be resampled: challengeR leaves such tasks out
    step = max(1, _SAMPLED_AT_ONCE // max(1, task.per_case.size))
    parts = [
        _rank_samples(task, within, samples[start : start + step], rules).ranks
        for start in range(0, len(samples), step)
    ]
    return TaskRanking(
        aggregated=whole.aggregated[0],
        aggregated_ranks=whole.aggregated_ranks[0],
        p=whole.p[0],
        p_corrected=whole.p_corrected[0],
        wins=whole.wins[0],
        ranks={name: ranks[0] for name, ranks in whole.ranks.items()},
        sampled={
            name: np.concatenate([ranks[:0], *(part[name] for part in parts)])
            for name, ranks in whole.ranks.items()
        },
    )


@dataclass(frozen=True, eq=False)
class _Sampled:
    """What `TaskRanking` holds, with a leading axis of samples."""

    aggregated: Values
    aggregated_ranks: Values
    p: Values
    p_corrected: Values
    wins: Values
    ranks: dict[str, Ranks]


def _rank_samples(task: Task, within: Ranks, samples: NDArray[np.intp], rules: Rules) -> _Sampled:
    larger, aggregate = task.larger_is_better, AGGREGATES[rules.aggregate]
    regions = range(task.values.shape[1])
    by_region = np.stack([aggregate(task.values[:, region][samples], 1) for region in regions])
    aggregated = mean_where_defined(by_region, axis=0)
    of_ranks = aggregate(within[samples], 1)
    p_values = compare_signed_ranks(
        task.per_case, larger_is_better=larger, weights=count_draws(samples)
    )
    corrected = correct_pairs(p_values, rules.correction)
    wins = (corrected <= rules.alpha).sum(axis=-1).astype(np.float64)
    ranks = (
        rank(aggregated, larger_is_better=larger),
        rank(of_ranks, larger_is_better=False),
        rank(wins, larger_is_better=True),
    )
    return _Sampled(
        aggregated, of_ranks, p_values, corrected, wins, dict(zip(RANKINGS, ranks, strict=True))
    )
