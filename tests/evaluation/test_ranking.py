from math import inf, isnan, nan

import numpy as np
import pytest
from scipy import stats

from mednext_cli.evaluation.ranking import (
    compare_signed_ranks,
    correct_holm,
    rank,
    rank_within_cases,
)


def test_ties_share_the_better_rank_and_undefined_comes_last():
    assert rank(np.array([0.7, 0.9, 0.9, 0.1]), larger_is_better=True).tolist() == [3, 1, 1, 4]
    assert rank(np.array([0.7, nan, 0.9, nan]), larger_is_better=True).tolist() == [2, 3, 1, 3]
    assert rank(np.array([5.0, 1.0, inf]), larger_is_better=False).tolist() == [2, 1, 3]


def test_rank_of_every_case_apart():
    # By the mean the first method wins (its one good case), by ranks the second.
    values = np.array([[0.9, 0.1], [0.4, 0.5], [0.4, 0.5]])
    assert rank(values.mean(axis=0), larger_is_better=True).tolist() == [1, 2]
    means = rank_within_cases(values, larger_is_better=True)
    assert means == pytest.approx([5 / 3, 4 / 3])


def test_cases_in_which_a_method_is_undefined_rank_nobody():
    values = np.array([[0.9, 0.1], [nan, 0.5], [nan, 0.5]])
    assert rank_within_cases(values, larger_is_better=True).tolist() == [1.0, 2.0]
    assert np.isnan(rank_within_cases(values[1:], larger_is_better=True)).all()


def test_signed_rank_test_worked_out_by_hand():
    # Differences 1, 2, 3, -4 (and one zero, dropped): ranks sum to 6 against 4, mean 5, variance
    # 4 * 5 * 9 / 24 = 7.5, so z = (6 - 5 - 0.5) / sqrt(7.5).
    first, second = np.array([2.0, 3, 4, 0, 5]), np.array([1.0, 1, 1, 4, 5])
    p = compare_signed_ranks(first, second, larger_is_better=True)
    assert p == pytest.approx(stats.norm.sf(0.5 / np.sqrt(7.5)))
    other_way = compare_signed_ranks(first, second, larger_is_better=False)
    assert other_way == pytest.approx(stats.norm.sf((4 - 5 - 0.5) / np.sqrt(7.5)))


def test_signed_rank_test_is_that_of_scipy():
    random = np.random.default_rng(0)
    first, second = random.random((2, 30))
    first[:5] = nan
    expected = stats.wilcoxon(
        first[5:], second[5:], alternative="greater", correction=True, method="approx"
    )
    found = compare_signed_ranks(first, second, larger_is_better=True)
    assert found == pytest.approx(expected.pvalue, rel=1e-12)


def test_equal_differences_tie_whatever_their_rounding():
    first = np.array([0.9, 0.8, 0.7, 0.85, 0.75, 0.95])
    expected = stats.wilcoxon([0.1] * 6, alternative="greater", correction=True, method="approx")
    found = compare_signed_ranks(first, first - 0.1, larger_is_better=True)
    assert found == pytest.approx(expected.pvalue, rel=1e-12)


def test_equal_scores_have_no_test():
    assert isnan(compare_signed_ranks(np.ones(5), np.ones(5), larger_is_better=True))


def test_holm_by_hand():
    corrected = correct_holm(np.array([0.04, 0.01, nan, 0.02]))
    assert corrected == pytest.approx([0.04, 0.03, nan, 0.04], nan_ok=True)
    assert correct_holm(np.array([0.5, 0.9])).tolist() == [1.0, 1.0]
