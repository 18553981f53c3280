"""Ranks of methods and tests between them, as challengeR (Wiesenfarth et al. 2021) defines them.

Everywhere: rank 1 is the best, ties share the better rank ("min"), values that are equal but for
rounding tie (`ties`), methods are the last axis, cases the one before, and undefined values are
nan. Leading axes (bootstrap samples) stay.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mednext_cli.evaluation.choices import Correction
from mednext_cli.evaluation.ranking.ties import (
    TOLERANCE,
    average_ranks,
    first_of_ties,
    last_of_ties,
    least_ranks,
)
from mednext_cli.evaluation.tables.bootstrap import Values

Ranks = NDArray[np.float64]


def rank(values: Values, *, larger_is_better: bool) -> Ranks:
    """Rank along the last axis; undefined values come last, one rank behind the worst.

    challengeR's ``rankNA2`` with ``ties.method="min"``.
    """
    ascending = -values if larger_is_better else values
    undefined = np.isnan(ascending)
    sortable = np.where(undefined, np.inf, ascending)
    ranks = least_ranks(sortable)
    last = np.where(undefined, 0.0, ranks).max(axis=-1, keepdims=True) + 1.0
    ranks[undefined] = np.broadcast_to(last, ranks.shape)[undefined]
    return ranks


def rank_cases(values: Values, *, larger_is_better: bool, drop_undefined: bool = False) -> Ranks:
    """Each method's rank in every case: the first step of rank-then-aggregate.

    Args:
        values: (cases, methods).
        larger_is_better: whether a larger value ranks before a smaller one.
        drop_undefined: a case in which a method is undefined ranks nobody (nan); else that method
            comes last in it, as challengeR has it.
    """
    ranks = rank(values, larger_is_better=larger_is_better)
    if drop_undefined:
        ranks[np.isnan(values).any(axis=-1)] = np.nan
    return ranks


def compare_signed_ranks(
    values: Values, *, larger_is_better: bool, weights: Values | None = None
) -> Values:
    """One-sided Wilcoxon signed-rank tests of all ordered pairs of methods.

    Normal approximation with continuity correction and correction for ties, zero differences and
    cases in which one of both is undefined dropped: R's ``wilcox.test(paired=TRUE, exact=FALSE)``.

    Args:
        values: (cases, methods).
        larger_is_better: whether a larger value is better.
        weights: (samples, cases), how often each case counts in each bootstrap sample; None
            counts each once.

    Returns:
        ([samples,] methods, methods): p that the first method is better than the second; nan where
        no case differs.
    """
    counts = np.ones((1, len(values))) if weights is None else weights
    methods = values.shape[-1]
    scores = np.full((len(counts), methods, methods), np.nan)
    for first in range(methods):
        for second in range(first):
            gain = gains(values, (first, second), larger_is_better=larger_is_better)
            above, below = _signed_rank_scores(gain, counts)
            scores[:, first, second], scores[:, second, first] = above, below
    p_values = np.asarray(stats.norm.sf(scores))
    return p_values[0] if weights is None else p_values


def gains(values: Values, pair: tuple[int, int], *, larger_is_better: bool) -> Values:
    """By how much the first method of a pair is better than the second, in every case.

    Differences that are nothing but rounding are 0, undefined ones nan.

    Args:
        values: (cases, methods).
        pair: two methods.
        larger_is_better: whether a larger value is better.
    """
    scores, other = values[:, pair[0]], values[:, pair[1]]
    difference = scores - other if larger_is_better else other - scores
    scale = np.maximum(1.0, np.minimum(np.abs(scores), np.abs(other)))
    return np.where(np.abs(difference) <= TOLERANCE * scale, 0.0, difference)


def _signed_rank_scores(gain: Values, counts: Values) -> tuple[Values, Values]:
    """The z that gains lie above 0, and below, in every bootstrap sample.

    A sample holds each case a number of times, so that ranks within it are sums of these numbers
    over the cases in the order of the whole: nothing is sorted again.

    Args:
        gain: (cases,).
        counts: (samples, cases).
    """
    used = np.flatnonzero(np.isfinite(gain) & (gain != 0))
    used = used[np.argsort(np.abs(gain[used]), kind="stable")]
    size = np.abs(gain[used])
    drawn = counts[:, used]
    reached = np.zeros((len(drawn), len(used) + 1))
    np.cumsum(drawn, axis=1, out=reached[:, 1:])
    # Ties share their average rank: half of the first one's and the last one's together.
    ranks = (reached[:, first_of_ties(size)] + reached[:, last_of_ties(size) + 1] + 1.0) / 2.0
    above = (drawn * ranks) @ (gain[used] > 0).astype(np.float64)
    total = reached[:, -1]
    excess = above - total * (total + 1) / 4
    deviation = np.sqrt((drawn * ranks**2).sum(axis=1) / 4)
    half = 0.5
    return _divide(excess - half, deviation), _divide(-excess - half, deviation)


def _divide(values: Values, by: Values) -> Values:
    undefined = np.full(np.shape(values), np.nan)
    return np.asarray(np.divide(values, by, out=undefined, where=by > 0))


def correct_holm(p_values: Values) -> Values:
    """The p values after Holm's step-down correction along the last axis.

    Undefined ones stay so and do not count, as in R's ``p.adjust``.
    """
    order = np.argsort(p_values, axis=-1, kind="stable")  # nan last
    ordered = np.take_along_axis(p_values, order, axis=-1)
    defined = ~np.isnan(ordered)
    factors = defined.sum(axis=-1, keepdims=True) - np.arange(p_values.shape[-1])
    stepped = np.maximum.accumulate(np.where(defined, ordered * factors, 0.0), axis=-1)
    corrected = np.empty_like(p_values)
    np.put_along_axis(
        corrected, order, np.where(defined, np.minimum(1.0, stepped), np.nan), axis=-1
    )
    return corrected


def correct_pairs(p_values: Values, method: Correction) -> Values:
    """Correct the p values of all ordered pairs.

    Args:
        p_values: (..., methods, methods), nan on the diagonal.
        method: the correction.
    """
    if method == "none":
        return p_values
    flat = p_values.reshape(*p_values.shape[:-2], -1)
    return correct_holm(flat).reshape(p_values.shape)


def kendall_tau(ranks: Ranks, others: Ranks) -> Values:
    """Kendall's tau-b of one ranking with each of others; nan where one ties all methods.

    Args:
        ranks: (methods,).
        others: (..., methods).
    """
    first, second = np.triu_indices(len(ranks), 1)
    signs = np.sign(ranks[first] - ranks[second])
    other_signs = np.sign(others[..., first] - others[..., second])
    pairs = np.sqrt((signs**2).sum() * (other_signs**2).sum(axis=-1))
    return _divide((signs * other_signs).sum(axis=-1), pairs)


def consensus(ranks: Ranks) -> tuple[Ranks, Ranks]:
    """Mean rank of each method over tasks, and the rank of that with ties sharing their average.

    challengeR's ``consensus(method="euclidean")``.

    Args:
        ranks: (tasks, methods).
    """
    means = ranks.mean(axis=0)
    return means, average_ranks(means)
