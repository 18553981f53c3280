"""Exact ties stay ties: a rank never hangs on the order in which numbers were summed."""

import csv
from itertools import permutations

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.evaluation.ranking.ranks import compare_signed_ranks, consensus, rank
from mednext_cli.evaluation.ranking.ties import average_ranks
from mednext_cli.evaluation.tables.bootstrap import count_draws, draw_samples

SCORES = (0.1, 0.3, 0.7, 0.85, 0.9)
RANKINGS = ("rank", "rank_then_aggregate", "significance_rank")
# challengeR's worst case: five methods, 120 cases, every order of five scores once. The methods
# have the same scores, each in another order.
WORST_CASE = np.array(list(permutations(SCORES)))


def tables_of(folder, values, column="dice"):
    """Tables of (cases, regions, methods)."""
    tables = []
    for method in range(values.shape[2]):
        path = folder / f"m{method}.csv"
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("case", "region", column))
            writer.writerows((f"c{case:03}", f"r{region}", repr(float(value)))
                             for case, rows in enumerate(values[..., method])
                             for region, value in enumerate(rows))  # fmt: skip
        tables.append(f"m{method}={path}")
    return tables


def ranks_of(folder, values, *options, column="dice"):
    out = folder / "out"
    tables = tables_of(folder, values, column)
    assert main(["leaderboard", *tables, "--metric", column, "--out", str(out), *options]) == 0
    with (out / "leaderboard.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (out / "consensus.csv").open(newline="") as stream:
        return rows, list(csv.DictReader(stream))


@pytest.mark.parametrize("aggregate", ["mean", "median"])
@pytest.mark.parametrize(("column", "factor"), [("dice", 1.0), ("hd95_mm", 333.3)])
def test_worst_case_of_challenger_is_a_tie_of_all(tmp_path, column, factor, aggregate):
    values = factor * WORST_CASE
    assert len(set(values.mean(axis=0))) > 1  # rounding would tell them apart
    rows, joined = ranks_of(tmp_path, values[:, None], "--aggregate", aggregate, column=column)
    for name in RANKINGS:
        assert {float(row[name]) for row in rows} == {1}, name
    assert {row["wins"] for row in rows} == {"0"}
    assert {float(row["consensus_rank"]) for row in joined} == {3}  # ties share the average


def test_scores_that_swap_regions_tie_in_every_case(tmp_path):
    """(0.1, 0.2, 0.3) and (0.3, 0.2, 0.1) have the same mean and other last digits."""
    orders = np.array(list(permutations((0.1, 0.2, 0.3))))
    values = np.repeat(orders.T[None], 10, axis=0)  # (cases, regions, methods)
    assert len(set(values.mean(axis=1)[0])) > 1
    rows, _ = ranks_of(tmp_path, values)
    overall = [row for row in rows if row["region"] == "overall"]
    for name in (*RANKINGS, *(f"{name}_{end}" for name in RANKINGS for end in ("low", "high"))):
        # All tie in every bootstrap sample as well: intervals are from 1 to 1.
        assert {float(row[name]) for row in overall} == {1}, name
    with (tmp_path / "out" / "pairwise.csv").open(newline="") as stream:
        pairs = [row for row in csv.DictReader(stream) if row["region"] == "overall"]
    assert {(row["better_cases"], row["worse_cases"], row["p"]) for row in pairs} == {
        ("0", "0", "nan")
    }


def test_what_differs_by_more_than_rounding_does_not_tie():
    apart = np.array([0.5, 0.5 + 1e-11, 0.5 + 2e-11])
    assert rank(apart, larger_is_better=True).tolist() == [3, 2, 1]
    assert rank(apart / 100, larger_is_better=False).tolist() == [1, 1, 1]
    assert rank(np.array([np.inf, 5.0, np.inf]), larger_is_better=False).tolist() == [2, 1, 2]
    # Rounded to 12 decimals these would fall to both sides; they tie all the same.
    edge = 0.1234567890125
    ends = np.array([edge - 4e-17, edge + 4e-17, edge])
    assert rank(ends, larger_is_better=True).tolist() == [1, 1, 1]


def test_average_ranks_and_consensus_tie_too():
    assert average_ranks(np.array([0.3, 0.1 + 0.2, 0.1, np.inf])).tolist() == [2.5, 2.5, 1, 4]
    _, joined = consensus(np.array([[1.0, 2, 3], [2, 1, 3]]))
    assert joined.tolist() == [1.5, 1.5, 3]


def test_resampled_tests_are_those_of_the_samples():
    """How often a case was drawn says the same as the drawn cases written out."""
    random = np.random.default_rng(3)
    values = np.round(random.random((20, 3)), 1)
    values[:2, 0] = np.nan
    samples = draw_samples(20, 30, seed=1)
    found = compare_signed_ranks(values, larger_is_better=True, weights=count_draws(samples))
    for sample, cases in enumerate(samples):
        alone = compare_signed_ranks(values[cases], larger_is_better=True)
        np.testing.assert_array_equal(found[sample], alone)
