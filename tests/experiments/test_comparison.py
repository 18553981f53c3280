"""Comparisons of arms: over cases, seeds averaged first, Holm over pairs."""

from math import isnan

import numpy as np
import pytest
from scipy import stats

from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.experiments.comparison import ComparisonRow, compare_arms
from mednext_cli.experiments.layout import RunKey
from mednext_cli.experiments.scores import FoldScores

ARMS = ("first", "second", "third")


def _fold(values: np.ndarray, runs: tuple[RunKey, ...], fold: int = 0) -> FoldScores:
    """Of values (cases, regions, runs) for all three metrics."""
    stacked = np.stack([values] * 3, axis=2)
    cases = tuple(f"case_{number}" for number in range(len(values)))
    regions = ("a", "b")[: values.shape[1]]
    return FoldScores(fold, runs, cases, regions, stacked, stacked)


def _row(rows: tuple[ComparisonRow, ...], arm: str, against: str = "first") -> ComparisonRow:
    return next(
        row
        for row in rows
        if (row.metric, row.region, row.arm, row.against) == ("dice", OVERALL, arm, against)
    )


def test_seeds_are_averaged_before_cases_are_counted() -> None:
    random = np.random.default_rng(1)
    runs = tuple(RunKey(arm, seed, 0) for arm in ARMS for seed in (0, 1))
    values = random.uniform(0.5, 0.9, (12, 2, 6))
    values[..., 2:4] += 0.05
    rows = compare_arms([_fold(values, runs)], ARMS)
    row = _row(rows, "second")
    per_case = values.mean(axis=1)
    paired = per_case[:, 2:4].mean(axis=1) - per_case[:, 0:2].mean(axis=1)
    assert (row.cases, row.seeds) == (12, 2)
    assert row.difference == pytest.approx(paired.mean())
    assert row.p == pytest.approx(stats.wilcoxon(paired).pvalue)
    assert row.ci95_low < row.difference < row.ci95_high
    by_seed = [(per_case[:, 2 + seed] - per_case[:, seed]).mean() for seed in (0, 1)]
    assert row.spread_over_seeds == pytest.approx(np.std(by_seed, ddof=1))
    assert row.better_cases + row.worse_cases == 12
    pairs = [_row(rows, *pair) for pair in (("second",), ("third",), ("third", "second"))]
    smallest = min(pairs, key=lambda pair: pair.p)
    assert smallest.p_holm == pytest.approx(min(1.0, 3 * smallest.p))


def test_only_seeds_that_both_have_are_compared() -> None:
    runs = (RunKey("first", 0, 0), RunKey("first", 1, 0), RunKey("second", 1, 0))
    values = np.array([[[0.1, 0.5, 0.6]], [[0.1, 0.5, 0.7]]])
    row = _row(compare_arms([_fold(values, runs)], ARMS[:2]), "second")
    assert (row.cases, row.seeds) == (2, 1)
    assert row.difference == pytest.approx(0.15)
    assert isnan(row.spread_over_seeds)


def test_folds_are_joined_case_by_case() -> None:
    folds = [
        _fold(np.array([[[0.5, 0.6]]]), (RunKey("first", 0, fold), RunKey("second", 0, fold)), fold)
        for fold in (0, 1)
    ]
    assert _row(compare_arms(folds, ARMS[:2]), "second").cases == 2


def test_an_arm_that_is_not_run_has_no_numbers() -> None:
    rows = compare_arms([_fold(np.array([[[0.5]]]), (RunKey("first", 0, 0),))], ARMS[:2])
    row = _row(rows, "second")
    assert row.cases == 0
    assert isnan(row.difference)
    assert isnan(row.p)
    assert _row(compare_arms([], ARMS[:2]), "second").cases == 0


def test_arms_that_are_equal_have_no_p() -> None:
    runs = (RunKey("first", 0, 0), RunKey("second", 0, 0))
    row = _row(compare_arms([_fold(np.full((3, 1, 2), 0.5), runs)], ARMS[:2]), "second")
    assert (row.difference, row.better_cases, row.worse_cases) == (0.0, 0, 0)
    assert isnan(row.p)


def test_a_smaller_distance_is_better() -> None:
    runs = (RunKey("first", 0, 0), RunKey("second", 0, 0))
    rows = compare_arms([_fold(np.array([[[5.0, 3.0]], [[4.0, 1.0]]]), runs)], ARMS[:2])
    row = next(row for row in rows if (row.metric, row.region) == ("hd95_mm", OVERALL))
    assert (row.better_cases, row.worse_cases) == (2, 0)
    assert row.difference == pytest.approx(-2.5)
