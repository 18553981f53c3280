from dataclasses import fields
from math import inf, isnan, nan

import numpy as np
import pytest

from mednext_cli.evaluation.scoring.scores import RegionScore
from mednext_cli.evaluation.tables.bootstrap import draw_weights, weighted_means
from mednext_cli.evaluation.tables.columns import METRIC_COLUMNS, SUMMARY
from mednext_cli.evaluation.tables.summary import SummaryRow, summarise


def score(case, region, dice, hd95=1.0, status="ok"):
    values = dict.fromkeys((column.name for column in METRIC_COLUMNS), 0.5)
    values |= {"dice": dice, "hd95_mm": hd95}
    return RegionScore(case, region, values, 1.0, "", status, "nnunet")


def row_of(rows, region, metric):
    return next(row for row in rows if (row.region, row.metric) == (region, metric))


def test_fields_are_the_columns():
    assert [field.name for field in fields(SummaryRow)] == list(SUMMARY.names)


def test_figures_of_a_region():
    scores = [
        score(f"c{index}", "organ", value) for index, value in enumerate([0.2, 0.4, 0.6, 1.0])
    ]
    row = row_of(summarise(scores), "organ", "dice")
    assert row.mean == pytest.approx(0.55)
    assert row.standard_deviation == pytest.approx(np.std([0.2, 0.4, 0.6, 1.0], ddof=1))
    assert (row.quartile_1, row.median, row.quartile_3) == pytest.approx((0.35, 0.5, 0.7))
    assert 0.2 < row.ci95_low < 0.55 < row.ci95_high < 1.0
    assert (row.cases, row.nan, row.inf, row.missing, row.failed) == (4, 0, 0, 0, 0)


def test_one_case_has_no_interval():
    row = row_of(summarise([score("a", "organ", 0.7)]), "overall", "dice")
    assert row.mean == pytest.approx(0.7)
    assert isnan(row.ci95_low)
    assert isnan(row.ci95_high)


def test_undefined_and_infinite_values_are_left_out_and_counted():
    scores = [
        score("a", "organ", 0.5, 2.0),
        score("b", "organ", 0.0, inf, status="missing_prediction"),
        score("c", "organ", nan, nan),
        score("d", "organ", 1.0, 4.0),
        score("e", "organ", nan, nan, status="failed"),
    ]
    rows = summarise(scores)
    distance = row_of(rows, "organ", "hd95_mm")
    assert distance.mean == pytest.approx(3.0)
    assert (distance.nan, distance.inf) == (1, 1)
    dice = row_of(rows, "organ", "dice")
    assert dice.mean == pytest.approx(0.5)
    assert (dice.cases, dice.nan, dice.missing, dice.failed) == (4, 1, 1, 1)


def test_overall_mean_is_the_mean_of_the_regions_means():
    scores = [
        score("a", "big", 0.8),
        score("a", "small", nan),
        score("b", "big", 0.6),
        score("b", "small", 0.1),
    ]
    rows = summarise(scores)
    assert row_of(rows, "overall", "dice").mean == pytest.approx((0.7 + 0.1) / 2)
    assert row_of(rows, "overall", "dice").median == pytest.approx((0.8 + 0.35) / 2)
    assert row_of(rows, "overall", "dice").nan == 1


def test_nothing_defined_gives_nan_and_no_warning():
    row = row_of(summarise([score("a", "organ", nan)]), "organ", "dice")
    assert isnan(row.mean)
    assert isnan(row.ci95_low)
    assert row.nan == 1


def test_intervals_are_those_of_resampling_cases_and_do_not_change():
    random = np.random.default_rng(3)
    values = random.random((40, 1))
    weights = draw_weights(40, 2000, seed=0)
    means = weighted_means(weights, values)[:, 0]
    resampled = values[random.integers(0, 40, (4000, 40)), 0].mean(axis=1)
    assert np.percentile(means, [2.5, 97.5]) == pytest.approx(
        np.percentile(resampled, [2.5, 97.5]), abs=0.01
    )
    assert (draw_weights(40, 2000, seed=0) == weights).all()
    assert (weights.sum(axis=1) == 40).all()
