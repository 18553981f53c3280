"""Intervals have the level that they are said to have: 95 %, by computations of their own."""

import numpy as np
import pytest

from mednext_cli.evaluation.pages.plots import plot_agreements, plot_groups
from mednext_cli.evaluation.pages.rank_plot import plot_ranks
from mednext_cli.evaluation.ranking.task_ranking import RANKINGS, Rules, Task, rank_task
from mednext_cli.evaluation.scoring.scores import RegionScore
from mednext_cli.evaluation.tables.bootstrap import draw_samples
from mednext_cli.evaluation.tables.columns import find_metric
from mednext_cli.evaluation.tables.summary import summarise
from tests.evaluation.tables.test_summary import row_of, score

LEVEL = (0.025, 0.975)


def resampled_ends(values):
    """Ends of the middle 95 % of the means of 20,000 resamples; values are (cases, regions)."""
    random = np.random.default_rng(11)
    drawn = values[random.integers(0, len(values), (20_000, len(values)))]
    return np.quantile(drawn.mean(axis=(1, 2)), LEVEL)


@pytest.mark.parametrize("region", ["first", "overall"])
def test_the_interval_of_a_mean_is_of_95_percent(region):
    values = np.random.default_rng(3).random((40, 2))
    scores = [score(f"c{case}", name, float(values[case, place]))
              for case in range(40) for place, name in enumerate(("first", "second"))]  # fmt: skip
    row = row_of(summarise(scores), region, "dice")
    wanted = values[:, :1] if region == "first" else values
    ends = resampled_ends(wanted)
    # An interval of 90 % would be narrower by 16 %, one of 99 % wider by 31 %.
    assert row.ci95_high - row.ci95_low == pytest.approx(ends[1] - ends[0], rel=0.05)
    assert (row.ci95_low, row.ci95_high) == pytest.approx(tuple(ends), abs=0.006)


@pytest.fixture(scope="module")
def ranking():
    values = np.random.default_rng(5).random((25, 1, 6))
    return rank_task(Task(values, larger_is_better=True), draw_samples(25, 400, seed=2), Rules())


@pytest.mark.parametrize("name", RANKINGS)
def test_the_interval_of_a_rank_holds_95_percent_of_its_samples(ranking, name):
    low, high = ranking.interval(name)
    ordered = np.sort(ranking.sampled[name], axis=0)
    # Of 400 samples at most 10 lie below the low end and 10 above the high one.
    for method in range(6):
        assert low[method] == pytest.approx(
            np.interp(LEVEL[0] * 399, range(400), ordered[:, method])
        )
        assert high[method] == pytest.approx(
            np.interp(LEVEL[1] * 399, range(400), ordered[:, method])
        )


def test_the_whiskers_of_the_rank_plot_are_that_interval():
    sampled = np.repeat(np.arange(1.0, 101.0), 10)[:, None] * [1, 1]
    plot = plot_ranks("dice", ("a", "b"), np.array([1.0, 2.0]), sampled)
    per_rank = plot.ticks[1][0] - plot.ticks[0][0]
    places = [(x - plot.ticks[0][0]) / per_rank + 1 for x in (plot.rows[0].low, plot.rows[0].high)]
    assert places == pytest.approx(np.quantile(sampled[:, 0], LEVEL), abs=0.01)


def test_limits_of_agreement_are_of_95_percent():
    volumes = np.random.default_rng(7).uniform(5, 9, (12, 2))
    scores = [
        RegionScore(f"c{case}", "organ", {"volume_reference_ml": float(one[0]),
                    "volume_prediction_ml": float(one[1])}, 1.0, "", "ok", "nnunet")
        for case, one in enumerate(volumes)
    ]  # fmt: skip
    difference = volumes[:, 1] - volumes[:, 0]
    reach = 1.959964 * np.sqrt(((difference - difference.mean()) ** 2).sum() / 11)
    text = plot_agreements(scores, 1)[0].text
    ends = text.split("agreement ")[1].removesuffix(" ml").split(" to ")
    expected = (difference.mean() - reach, difference.mean() + reach)
    assert [float(end) for end in ends] == pytest.approx(expected, rel=0.01)


def test_whiskers_reach_the_farthest_case_within_one_and_a_half_boxes():
    """Tukey: quartiles 0.4 and 0.5 reach to 0.25 and 0.65."""
    values = [0.2, 0.26, 0.4, 0.4, 0.45, 0.5, 0.5, 0.64, 0.7]
    assert np.quantile(values, (0.25, 0.75)).tolist() == pytest.approx([0.4, 0.5])
    plot = plot_groups(find_metric("dice"), {"organ": [(f"c{v}", v) for v in values]})
    assert plot is not None
    row = plot.rows[0]
    places = [dot.x for dot in row.dots]
    assert row.low == places[values.index(0.26)]
    assert row.high == places[values.index(0.64)]
    assert row.median == places[values.index(0.45)]
