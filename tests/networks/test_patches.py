"""Which patches a network takes, where its axes have divisors of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.patches import PatchRule

FLAT = PatchRule(divisors=(4, 32, 32), smallest=(4, 64, 64))
SLICES = PatchRule(divisors=(16, 16), smallest=(16, 16), dimensions=2)
CUBE = PatchRule(divisors=(16, 16, 16), smallest=(16, 16, 32))


@given(lengths=st.tuples(*[st.integers(1, 300)] * 3), rule=st.sampled_from([FLAT, SLICES, CUBE]))
def test_what_is_fitted_is_taken_and_fitting_again_changes_nothing(lengths, rule):
    patch = rule.fit(lengths)
    assert rule.problem(patch) == ""
    assert rule.fit(patch) == patch
    assert rule.problem(rule.halve(patch)) == ""


def test_each_axis_keeps_its_own_divisor():
    assert FLAT.fit((10, 100, 30)) == (8, 96, 64)
    assert FLAT.halve((16, 128, 192)) == (8, 64, 96)


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ((6, 64, 64), "divisible by 4, 32, 32"),
        ((4, 32, 64), "the smallest is 4 x 64 x 64$"),
        ((64, 64, 4), "divisible by 4, 32, 32"),
    ],
)
def test_a_patch_that_fits_the_wrong_axes_is_refused(patch, problem):
    with pytest.raises(SettingsError) as caught:
        FLAT.check(patch)
    assert problem.rstrip("$") in caught.value.message
    assert "in some order" not in caught.value.message


def test_the_nearest_patches_are_named():
    with pytest.raises(SettingsError, match="4 x 64 x 64 or 8 x 96 x 96"):
        FLAT.check((6, 70, 70))
