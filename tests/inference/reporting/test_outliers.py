"""Which cases are unlike the others."""

from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from mednext_cli.inference.reporting.cases import ReportedCase
from mednext_cli.inference.reporting.outliers import compare, in_order, robust_z


def case(name: str, uncertainty: float = nan, **volumes: float) -> ReportedCase:
    return ReportedCase(name, volumes, uncertainty, Path(f"{name}.png"))


def test_distances_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=31)
    expected = (values - np.median(values)) / median_abs_deviation(values, scale="normal")
    np.testing.assert_allclose(robust_z(values), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "values", [(1.0, 2.0, 3.0, 90.0), (1.0, 1.0, 1.0, 1.0, 90.0), (nan, nan, 1.0, 2.0, 3.0, 90.0)]
)
def test_few_or_equal_cases_are_not_compared(values: tuple[float, ...]) -> None:
    assert np.isnan(robust_z(values)).all()


def test_what_is_nan_stays_so_and_moves_no_other() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 6.0]
    with_gaps = robust_z([nan, *values, inf])
    np.testing.assert_array_equal(with_gaps[1:-1], robust_z(values))
    assert np.isnan(with_gaps[[0, -1]]).all()


def test_volumes_are_compared_by_their_ratio() -> None:
    """A quarter of the median is as far from it as four times as much."""
    cases = [case(str(ml), liver=ml) for ml in (250, 900, 950, 1000, 1e6 / 950, 1e6 / 900, 4000)]
    found = [standing.volume_z["liver"] for standing in compare(cases)]
    assert found[0] == pytest.approx(-found[-1])
    assert found[1] == pytest.approx(-found[-2])
    assert compare(cases)[0].reasons == (f"liver 250 ml, z {found[0]:+.1f}",)
    assert compare(cases)[2].reasons == ()


def test_the_farthest_come_first_and_then_the_least_certain() -> None:
    usual = [case(f"usual_{n}", 0.1 + n / 100, liver=1000 + 10 * n) for n in range(5)]
    small = case("small", 0.1, liver=10)
    unsure = case("unsure", 0.9, liver=1020)
    sure = case("sure", 0.0, liver=1020)
    lacking = case("lacking", nan, liver=0)
    ordered = in_order([sure, *usual, small, lacking, unsure])
    assert [one.case_id for one, _ in ordered][:3] == ["lacking", "small", "unsure"]
    reasons = {one.case_id: standing.reasons for one, standing in ordered}
    assert reasons["lacking"] == ("liver not found",)
    assert reasons["unsure"][0].startswith("uncertainty 0.900, z +")
    assert reasons["sure"] == ()  # to be surer than the others is nothing to look at


def test_without_distances_the_least_certain_come_first() -> None:
    cases = [case("b", 0.2, liver=1), case("a", 0.2, liver=9), case("c", 0.4), case("d")]
    assert [one.case_id for one, _ in in_order(cases)] == ["c", "a", "b", "d"]


def test_a_structure_that_few_cases_have_is_missed_in_none() -> None:
    cases = [case(str(n), tumour=float(n > 5)) for n in range(11)]  # 5 of 11 have it
    assert not any(standing.reasons for standing in compare(cases))
    cases += [case("more", tumour=1.0)] * 2  # 7 of 13
    assert sum(standing.reasons == ("tumour not found",) for standing in compare(cases)) == 6
