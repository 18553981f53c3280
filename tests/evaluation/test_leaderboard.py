import re
from itertools import product

import numpy as np
import pytest
from scipy import stats

from mednext_cli.evaluation.leaderboard import LeaderboardSpec, leaderboard
from mednext_cli.evaluation.pages.rank_plot import plot_ranks
from mednext_cli.foundation.errors import DatasetError, SettingsError

GOOD = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.85, "e": 0.75, "f": 0.95}


def write(folder, name, scores, header="case,region,dice,hd95_mm", extra=""):
    """Write a cases.csv from (dice, hd95) by (case, region)."""
    lines = [header]
    lines += [
        f"{case},{region},{dice},{hd95}{extra}" for (case, region), (dice, hd95) in scores.items()
    ]
    path = folder / name / "cases.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def scores_of(offset, hd95=5.0, cases=GOOD, regions=("big", "small")):
    return {
        (case, region): (round(cases[case] + offset - 0.1 * (region == "small"), 6), hd95)
        for case, region in product(cases, regions)
    }


def row_of(result, method, region="overall", metric="dice"):
    key = (metric, region, method)
    return next(row for row in result.rows if (row.metric, row.region, row.method) == key)


@pytest.fixture
def three(tmp_path):
    """The first beats the second in every case, the third is the second."""
    return {
        "best": write(tmp_path, "best", scores_of(0.0)),
        "second": write(tmp_path, "second", scores_of(-0.1)),
        "third": write(tmp_path, "third", scores_of(-0.1)),
    }


def test_ranks_that_can_be_told_by_hand(three, tmp_path):
    result = leaderboard(LeaderboardSpec(three, tmp_path / "out", ("dice", "hd95")))
    best = row_of(result, "best")
    assert best.mean == pytest.approx(np.mean(list(GOOD.values())) - 0.05)
    assert (best.rank, best.rank_then_aggregate, best.significance_rank) == (1, 1, 1)
    assert (best.rank_low, best.rank_high) == (1.0, 1.0)
    assert best.mean_of_ranks == 1.0
    for name in ("second", "third"):
        row = row_of(result, name, "small")
        assert (row.rank, row.rank_then_aggregate, row.significance_rank) == (2, 2, 2)
        assert (row.mean_of_ranks, row.wins) == (2.0, 0)
    # All distances are equal: nobody is better than anybody.
    assert {row.rank for row in result.rows if row.metric == "hd95_mm"} == {1}
    assert not any(pair.significant for pair in result.pairs if pair.metric == "hd95_mm")


def test_tests_are_those_of_scipy_with_holm_over_all_pairs(three, tmp_path):
    result = leaderboard(LeaderboardSpec(three, tmp_path / "out", ("dice",)))
    pairs = {(one.method, one.other): one for one in result.pairs if one.region == "big"}
    assert len(pairs) == 6
    p = stats.wilcoxon([0.1] * 6, alternative="greater", correction=True, method="approx").pvalue
    found = pairs["best", "second"]
    assert found.p == pytest.approx(p, rel=1e-6)
    # Of the six ordered pairs the two between equals are undefined: four p values are corrected.
    assert found.p_holm == pytest.approx(4 * p, rel=1e-6)
    assert (found.better_cases, found.worse_cases, found.cases) == (6, 0, 6)
    assert found.mean_difference == pytest.approx(0.1)
    assert np.isnan(pairs["second", "third"].p)


@pytest.mark.parametrize(("correction", "significant"), [("holm", 0), ("none", 1)])
def test_what_is_called_significant_is_so_after_the_correction(
    three, tmp_path, correction, significant
):
    three["fourth"] = write(tmp_path, "fourth", scores_of(-0.2))  # ten tests in all
    spec = LeaderboardSpec(three, tmp_path / "out", ("dice",), correction=correction)
    pairs = {(one.method, one.other): one for one in leaderboard(spec).pairs}
    found = pairs["best", "second"]
    assert found.p < 0.05 < found.p_holm
    assert found.significant == significant


def test_rank_intervals_show_what_resampling_may_turn_round(tmp_path):
    first = {case: (value, 1.0) for case, value in {("a", "x"): 0.9, ("b", "x"): 0.1}.items()}
    second = {case: (value, 1.0) for case, value in {("a", "x"): 0.2, ("b", "x"): 0.6}.items()}
    tables = {"one": write(tmp_path, "one", first), "two": write(tmp_path, "two", second)}
    result = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))
    row = row_of(result, "one")
    assert row.rank == 1
    assert (row.rank_low, row.rank_high) == (1.0, 2.0)


def test_missing_case_is_dropped_for_all_or_scored_as_the_worst(three, tmp_path, caplog):
    short = scores_of(0.0)
    del short["a", "big"], short["a", "small"]
    three["short"] = write(tmp_path, "short", short)
    dropped = leaderboard(LeaderboardSpec(three, tmp_path / "out", ("dice",)))
    assert dropped.cases == ("b", "c", "d", "e", "f")
    assert {row.cases for row in dropped.rows} == {5}
    assert row_of(dropped, "short").rank == row_of(dropped, "best").rank == 1
    worst = leaderboard(LeaderboardSpec(three, tmp_path / "out", ("dice", "hd95"), "worst"))
    assert len(worst.cases) == 6
    assert row_of(worst, "short", "big").mean == pytest.approx((sum(GOOD.values()) - 0.9) / 6)
    assert row_of(worst, "short").as_worst == 1
    assert row_of(worst, "short", metric="hd95_mm").mean == pytest.approx(5 + 1 / 6)
    assert row_of(worst, "short", metric="hd95_mm").rank == 4  # the other three tie


def test_failing_does_not_improve_a_mean_distance(tmp_path):
    near = {("a", "x"): (0.9, 1.0), ("b", "x"): (0.0, "inf")}
    far = {("a", "x"): (0.8, 2.0), ("b", "x"): (0.5, 9.0)}
    tables = {"near": write(tmp_path, "near", near), "far": write(tmp_path, "far", far)}
    result = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("hd95",)))
    assert row_of(result, "near", metric="hd95_mm").mean == pytest.approx((1 + 10) / 2)
    assert row_of(result, "near", metric="hd95_mm").undefined == 1


def test_a_failure_never_ties_with_a_success(tmp_path):
    good = {(case, "x"): (0.9, 1.0) for case in "abcdef"}
    tables = {"good": write(tmp_path, "good", good)}
    tables["lost"] = write(tmp_path, "lost", dict.fromkeys(good, (0.0, "inf")))
    result = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("hd95",)))
    for row in result.rows:
        ranks = (row.rank, row.rank_then_aggregate, row.significance_rank)
        assert ranks == ((1, 1, 1) if row.method == "good" else (2, 2, 2))


def test_long_names_stay_apart_in_plots():
    names = [f"mednext_large_kernel_5_trained_with_seed_{seed}" for seed in (1, 2)]
    plot = plot_ranks("dice", names, np.array([1.0, 2.0]), np.array([[1.0, 2.0]]))
    labels = [row.label for row in plot.rows]
    assert labels == ["mednext_larg…d_with_seed_1", "mednext_larg…d_with_seed_2"]


def test_one_case_has_no_interval(tmp_path):
    tables = {name: write(tmp_path, name, {("a", "x"): (dice, 1.0)})
              for name, dice in (("one", 0.9), ("two", 0.8))}  # fmt: skip
    result = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))
    row = row_of(result, "one")
    assert row.rank == 1
    assert np.isnan([row.rank_low, row.rank_high, row.rank_tau, row.rank_then_aggregate_tau]).all()
    assert "nan" not in (tmp_path / "out" / "leaderboard.html").read_text().split("<body")[1]


@pytest.mark.parametrize("wrong", ["87.3", "-0.1", "inf"])
def test_shares_in_per_cent_are_refused(tmp_path, wrong):
    good = {("a", "x"): (0.9, 1.0), ("b", "x"): (0.8, 1.0)}
    tables = {"good": write(tmp_path, "good", good)}
    tables["wrong"] = write(tmp_path, "wrong", {**good, ("b", "x"): (wrong, 1.0)})
    with pytest.raises(
        DatasetError, match=re.escape(f"line 3, column dice: {wrong} is not from 0")
    ):
        leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))


RULES = "case,region,dice,hd95_mm,surface_dice,tolerance_mm,protocol,hd95_definition,empty,policy"


def tables_by_rules(folder, first, second):
    return {
        name: write(folder, name, {("a", "x"): (0.9, 1.0), ("b", "x"): (0.8, 2.0)}, RULES, end)
        for name, end in (("one", first), ("two", second))
    }


@pytest.mark.parametrize(
    ("metric", "second", "said"),
    [
        ("surface_dice", ",0.9,2.0,,a,,nnunet", "tolerance_mm: 1.0, 2.0"),
        ("surface_dice", ",0.9,1.0,mednext,a,,nnunet", "protocol: nothing, mednext"),
        ("hd95", ",0.9,1.0,,b,,nnunet", "hd95_definition: a, b"),
        ("dice", ",0.9,1.0,,a,both_empty,kits23", "policy: nnunet, kits23"),
    ],
)
def test_scores_of_other_rules_are_refused(tmp_path, metric, second, said):
    tables = tables_by_rules(tmp_path, ",0.9,1.0,,a,both_empty,nnunet", second)
    column, one, two = re.split(": |, ", said)
    text = f"{column} of x is {one} for one and {two} for two"
    with pytest.raises(DatasetError, match=re.escape(text)):
        leaderboard(LeaderboardSpec(tables, tmp_path / "out", (metric,)))
    assert not (tmp_path / "out").exists()


def test_rules_that_decide_nothing_here_may_differ(tmp_path):
    tables = tables_by_rules(tmp_path, ",0.9,1.0,,a,,nnunet", ",0.9,2.0,mednext,b,,kits23")
    assert leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",))).rows


def test_failed_rows_of_evaluate_count_as_missing(tmp_path):
    header = "case,region,dice,hd95_mm,status,csv_version"
    good = {("a", "x"): (0.9, 1.0), ("b", "x"): (0.8, 1.0)}
    ok = write(tmp_path, "ok", good, header, ",ok,1")
    bad = write(tmp_path, "bad", {("b", "x"): (0.8, 1.0)}, header, ",ok,1")
    bad.write_text(bad.read_text() + "a,x,nan,nan,failed,1\n")
    result = leaderboard(LeaderboardSpec({"ok": ok, "bad": bad}, tmp_path / "out", ("dice",)))
    assert result.cases == ("b",)


def test_files_hold_the_rows(three, tmp_path):
    result = leaderboard(LeaderboardSpec(three, tmp_path / "out", ("dice",)))
    lines = (tmp_path / "out" / "leaderboard.csv").read_text().splitlines()
    assert len(lines) == 1 + len(result.rows) == 1 + 3 * 3
    assert lines[1].startswith("dice,big,best,6,")
    assert len((tmp_path / "out" / "pairwise.csv").read_text().splitlines()) == 1 + 3 * 6


def test_report_is_escaped_and_shows_every_ranking(three, tmp_path):
    three["<b>odd & one"] = three.pop("third")
    result = leaderboard(LeaderboardSpec(three, tmp_path / "out", ("dice", "hd95")))
    text = (result.folder / "leaderboard.html").read_text(encoding="utf-8")
    assert "<b>odd" not in text
    assert text.count('<svg class="ranks"') == 2 * 3
    assert text.count("<tr>") == 3 + len(result.rows) + len(result.pairs) + len(result.consensus)
    assert "default-src &#39;none&#39;" in text
    assert not re.search(r"https?://|url\(", text)


def test_rank_plot_shows_shares_of_the_samples():
    sampled = np.array([[1.0, 2], [1, 2], [2, 1], [1, 2]])
    plot = plot_ranks("dice", ("a", "b"), np.array([1.0, 2]), sampled)
    first, second = plot.rows
    assert [row.label for row in plot.rows] == ["a", "b"]
    assert [blob.title for blob in first.blobs] == [
        "rank 1 in 75.0% of the samples", "rank 2 in 25.0% of the samples"
    ]  # fmt: skip
    areas = [blob.radius**2 for blob in first.blobs]
    assert areas[0] / areas[1] == pytest.approx(3, rel=0.05)
    assert first.mark == plot.ticks[0][0] < second.mark == plot.ticks[1][0] < plot.width


@pytest.mark.parametrize(
    ("header", "extra", "reason"),
    [
        ("case,region,hd95_mm,hd100_mm", "", "no column dice"),
        ("case,region,dice,hd95_mm,csv_version", ",2", "is of version 2, this is 1"),
        ("region,case,hd95_mm,dice,x", ",y", "not a number"),
    ],
)
def test_tables_that_cannot_be_used_are_named(tmp_path, header, extra, reason):
    scores = {("a", "x"): (0.5, "many")} if "number" in reason else {("a", "x"): (0.5, 1.0)}
    path = write(tmp_path, "bad", scores, header, extra)
    with pytest.raises(DatasetError, match=reason) as caught:
        leaderboard(LeaderboardSpec({"bad": path, "b": path}, tmp_path / "out", ("dice",)))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_row_twice_is_refused(tmp_path):
    path = write(tmp_path, "bad", {("a", "x"): (0.5, 1.0)})
    path.write_text(path.read_text() + "a,x,0.6,1.0\n")
    with pytest.raises(DatasetError, match="line 3 has case a, region x again"):
        leaderboard(LeaderboardSpec({"bad": path, "b": path}, tmp_path / "out", ("dice",)))


def test_undefined_scores_rank_last_or_their_case_ranks_nobody(tmp_path):
    one = {("a", "x"): (0.9, 1), ("b", "x"): ("nan", 1), ("c", "x"): ("nan", 1)}
    two = {("a", "x"): (0.8, 1), ("b", "x"): (0.1, 1), ("c", "x"): (0.1, 1)}
    tables = {"one": write(tmp_path, "one", one), "two": write(tmp_path, "two", two)}
    last = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))
    assert row_of(last, "one").mean_of_ranks == pytest.approx(5 / 3)
    assert row_of(last, "two").rank_then_aggregate == 1
    spec = LeaderboardSpec(tables, tmp_path / "out", ("dice",), undefined="drop")
    assert row_of(leaderboard(spec), "one").rank_then_aggregate == 1


def test_median_ignores_the_outlier_that_moves_the_mean(tmp_path):
    one = {(str(case), "x"): (value, 1) for case, value in enumerate([0.9, 0.9, 0.0])}
    two = {(str(case), "x"): (0.8, 1) for case in range(3)}
    tables = {"one": write(tmp_path, "one", one), "two": write(tmp_path, "two", two)}
    by_mean = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))
    spec = LeaderboardSpec(tables, tmp_path / "out", ("dice",), aggregate="median")
    by_median = leaderboard(spec)
    assert (row_of(by_mean, "one").rank, row_of(by_median, "one").rank) == (2, 1)
    assert row_of(by_median, "one").mean == 0.9


def test_consensus_joins_regions_and_datasets(three, tmp_path):
    good, poor = three["best"], three["second"]
    tables = {"a@kits": good, "b@kits": poor, "a@btcv": good, "b@btcv": poor}
    result = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))
    assert {row.dataset for row in result.rows} == {"kits", "btcv"}
    assert result.cases[0] == "kits/a"
    first, second = result.consensus[:2]
    assert (first.method, first.mean_rank, first.consensus_rank, first.tasks) == ("a", 1, 1, 4)
    assert (second.method, second.mean_rank) == ("b", 2)
    del tables["b@btcv"]
    with pytest.raises(SettingsError, match=r"b has no cases\.csv of dataset btcv"):
        leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))


def test_significance_without_correction(tmp_path):
    # Five cases in favour: p = 0.029 once, 0.059 after Holm's correction of two tests.
    one = {(str(case), "x"): (0.5 + 0.01 * case, 1) for case in range(5)}
    two = {(str(case), "x"): (0.4, 1) for case in range(5)}
    tables = {"one": write(tmp_path, "one", one), "two": write(tmp_path, "two", two)}
    holm = leaderboard(LeaderboardSpec(tables, tmp_path / "out", ("dice",)))
    spec = LeaderboardSpec(tables, tmp_path / "out", ("dice",), correction="none")
    assert (row_of(holm, "two").significance_rank, row_of(holm, "one").wins) == (1, 0)
    assert (row_of(leaderboard(spec), "two").significance_rank) == 2


def test_methods_that_share_nothing_are_refused(tmp_path):
    one = write(tmp_path, "one", {("a", "x"): (0.5, 1.0)})
    other_case = write(tmp_path, "two", {("b", "x"): (0.5, 1.0)})
    other_region = write(tmp_path, "three", {("a", "y"): (0.5, 1.0)})
    with pytest.raises(DatasetError, match="share no case"):
        leaderboard(LeaderboardSpec({"1": one, "2": other_case}, tmp_path / "out", ("dice",)))
    with pytest.raises(DatasetError, match="share no region: 1 has x; 3 has y"):
        leaderboard(LeaderboardSpec({"1": one, "3": other_region}, tmp_path / "out", ("dice",)))


def test_settings_without_meaning_are_refused(three, tmp_path):
    with pytest.raises(SettingsError, match="no methods"):
        leaderboard(LeaderboardSpec({}, tmp_path))
    with pytest.raises(SettingsError, match="only best to rank"):
        leaderboard(LeaderboardSpec({"best": three["best"]}, tmp_path))
    with pytest.raises(SettingsError, match="Known: mean, median"):
        leaderboard(LeaderboardSpec(three, tmp_path, aggregate="mode"))
    with pytest.raises(SettingsError, match="Known: drop, worst"):
        leaderboard(LeaderboardSpec(three, tmp_path, missing="skip"))
