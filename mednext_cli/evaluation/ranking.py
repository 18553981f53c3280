"""Ranks of methods and tests between them, as challengeR (Wiesenfarth et al. 2021) defines them.

Everywhere: rank 1 is the best, ties share the better rank ("min"), and arrays are
(cases, methods) with undefined values as nan.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mednext_cli.evaluation.bootstrap import Values

Ranks = NDArray[np.float64]
_DECIMALS = 12


def rank(values: Values, *, larger_is_better: bool) -> Ranks:
    """Rank along the last axis; undefined values come last, one rank behind the worst."""
    ascending = -values if larger_is_better else values
    undefined = np.isnan(ascending)
    sortable = np.where(undefined, np.inf, ascending)
    ranks: Ranks = stats.rankdata(sortable, method="min", axis=-1).astype(np.float64)
    last = np.where(undefined, 0.0, ranks).max(axis=-1, keepdims=True) + 1.0
    ranks[undefined] = np.broadcast_to(last, ranks.shape)[undefined]
    return ranks


def rank_within_cases(values: Values, *, larger_is_better: bool) -> Ranks:
    """Mean over cases of each method's rank in that case (the first step of rank-then-aggregate).

    Cases in which a method is undefined compare nothing and are left out; nan where none is left.
    """
    comparable = values[~np.isnan(values).any(axis=1)]
    if len(comparable) == 0:
        return np.full(values.shape[1], np.nan)
    return np.asarray(rank(comparable, larger_is_better=larger_is_better).mean(axis=0))


def compare_signed_ranks(first: Values, second: Values, *, larger_is_better: bool) -> float:
    """The p of the one-sided Wilcoxon signed-rank test that the first method is better.

    Normal approximation with continuity correction, zero differences dropped, as R's
    ``wilcox.test(exact=FALSE)``. nan where no case differs.
    """
    difference = first - second if larger_is_better else second - first
    # Differences that are equal but for rounding must tie, or their order would be chance.
    difference = np.round(difference[np.isfinite(difference)], _DECIMALS)
    if not np.any(difference):
        return float("nan")
    return float(
        stats.wilcoxon(
            difference,
            zero_method="wilcox",
            correction=True,
            alternative="greater",
            method="approx",
        ).pvalue
    )


def correct_holm(p_values: Values) -> Values:
    """The p values after Holm's step-down correction; undefined ones stay so and do not count."""
    corrected = np.full(p_values.shape, np.nan)
    defined = np.flatnonzero(~np.isnan(p_values))
    order = defined[np.argsort(p_values[defined], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return corrected
