from itertools import permutations
from math import inf, nan

import numpy as np
import pytest
from scipy import stats

from mednext_cli.evaluation.ranking.ranks import (
    compare_signed_ranks,
    consensus,
    correct_holm,
    correct_pairs,
    kendall_tau,
    rank,
    rank_cases,
)
from mednext_cli.evaluation.ranking.task_ranking import Rules, Task, rank_task
from mednext_cli.evaluation.tables.bootstrap import draw_samples, median_where_defined


def test_ties_share_the_better_rank_and_undefined_comes_last():
    assert rank(np.array([0.7, 0.9, 0.9, 0.1]), larger_is_better=True).tolist() == [3, 1, 1, 4]
    assert rank(np.array([0.7, nan, 0.9, nan]), larger_is_better=True).tolist() == [2, 3, 1, 3]
    assert rank(np.array([5.0, 1.0, inf]), larger_is_better=False).tolist() == [2, 1, 3]
    assert rank(np.array([nan, nan]), larger_is_better=True).tolist() == [1, 1]


def test_rank_of_every_case_apart():
    # By the mean the first method wins (its one good case), by ranks the second.
    values = np.array([[0.9, 0.1], [0.4, 0.5], [0.4, 0.5]])
    assert rank(values.mean(axis=0), larger_is_better=True).tolist() == [1, 2]
    means = rank_cases(values, larger_is_better=True).mean(axis=0)
    assert means == pytest.approx([5 / 3, 4 / 3])


def test_undefined_comes_last_in_its_case_or_the_case_ranks_nobody():
    values = np.array([[0.9, 0.1], [nan, 0.5], [nan, nan]])
    assert rank_cases(values, larger_is_better=True).tolist() == [[1, 2], [2, 1], [1, 1]]
    dropped = rank_cases(values, larger_is_better=True, drop_undefined=True)
    assert dropped[0].tolist() == [1, 2]
    assert np.isnan(dropped[1:]).all()


def test_signed_rank_test_worked_out_by_hand():
    # Differences 1, 2, 3, -4 (and one zero, dropped): ranks sum to 6 against 4, mean 5, variance
    # 4 * 5 * 9 / 24 = 7.5, so z = (6 - 5 - 0.5) / sqrt(7.5).
    values = np.array([[2.0, 1], [3, 1], [4, 1], [0, 4], [5, 5]])
    p = compare_signed_ranks(values, larger_is_better=True)
    assert p[0, 1] == pytest.approx(stats.norm.sf(0.5 / np.sqrt(7.5)))
    assert p[1, 0] == pytest.approx(stats.norm.sf((4 - 5 - 0.5) / np.sqrt(7.5)))
    assert np.isnan(np.diag(p)).all()
    assert compare_signed_ranks(values, larger_is_better=False)[0, 1] == p[1, 0]


@pytest.mark.parametrize("decimals", [1, 8])
def test_signed_rank_test_is_that_of_scipy(decimals):
    # One decimal: many ties and zeros.
    values = np.round(np.random.default_rng(0).random((30, 4)), decimals)
    values[:5, 0] = nan
    found = compare_signed_ranks(values, larger_is_better=True)
    for first, second in permutations(range(4), 2):
        difference = np.round(values[:, first] - values[:, second], 12)
        expected = stats.wilcoxon(
            difference[np.isfinite(difference)],
            alternative="greater",
            correction=True,
            method="asymptotic",
            zero_method="wilcox",
        )
        assert found[first, second] == pytest.approx(expected.pvalue, rel=1e-12)


def test_equal_differences_tie_whatever_their_rounding():
    first = np.array([0.9, 0.8, 0.7, 0.85, 0.75, 0.95])
    expected = stats.wilcoxon([0.1] * 6, alternative="greater", correction=True, method="approx")
    found = compare_signed_ranks(np.stack([first, first - 0.1], axis=1), larger_is_better=True)
    assert found[0, 1] == pytest.approx(expected.pvalue, rel=1e-12)


def test_equal_scores_have_no_test():
    assert np.isnan(compare_signed_ranks(np.ones((5, 2)), larger_is_better=True)).all()


def test_holm_by_hand():
    corrected = correct_holm(np.array([0.04, 0.01, nan, 0.02]))
    assert corrected == pytest.approx([0.04, 0.03, nan, 0.04], nan_ok=True)
    assert correct_holm(np.array([[0.5, 0.9], [0.9, 0.01]])).tolist() == [[1, 1], [0.9, 0.02]]
    pairs = np.array([[nan, 0.01], [0.99, nan]])
    assert correct_pairs(pairs, "none") is pairs
    assert correct_pairs(pairs, "holm")[0, 1] == pytest.approx(0.02)


def test_tau_is_that_of_scipy():
    random = np.random.default_rng(1)
    ranks = random.integers(1, 4, 6).astype(float)
    others = random.integers(1, 4, (20, 6)).astype(float)
    others[0] = 1
    expected = [stats.kendalltau(ranks, one).statistic for one in others]
    assert np.isnan(expected[0])
    assert kendall_tau(ranks, others) == pytest.approx(expected, nan_ok=True)


def test_consensus_by_hand():
    means, joined = consensus(np.array([[1.0, 2, 3], [2, 1, 3]]))
    assert means.tolist() == [1.5, 1.5, 3.0]
    assert joined.tolist() == [1.5, 1.5, 3.0]  # ties share their average here


def test_median_leaves_out_what_is_not_finite():
    values = np.array([[1.0, nan], [5.0, nan], [inf, nan], [2.0, nan]])
    assert median_where_defined(values, axis=0).tolist() == pytest.approx([2.0, nan], nan_ok=True)
    values = np.random.default_rng(0).random((7, 4, 3))
    assert median_where_defined(values, axis=1) == pytest.approx(np.median(values, axis=1))


@pytest.mark.parametrize("aggregate", ["mean", "median"])
def test_every_bootstrap_sample_is_ranked_like_the_whole(aggregate):
    values = np.random.default_rng(2).random((9, 2, 3))
    samples = draw_samples(9, 25, seed=0)
    rules = Rules(aggregate, correction="none")
    found = rank_task(Task(values, larger_is_better=True), samples, rules)
    for sample, cases in enumerate(samples):
        alone = rank_task(Task(values[cases], larger_is_better=True), np.arange(9)[None], rules)
        for name, ranks in alone.ranks.items():
            assert found.sampled[name][sample].tolist() == ranks.tolist()
    whole = getattr(np, aggregate)(values, axis=0).mean(axis=0)
    assert found.aggregated == pytest.approx(whole)
    taus = [stats.kendalltau(found.ranks["rank"], one).statistic for one in found.sampled["rank"]]
    assert found.stability("rank") == pytest.approx(np.nanmean(taus))
