"""Which patches a network takes, where its axes have divisors of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.patches import PatchRule

FLAT = PatchRule(divisors=(4, 32, 32), smallest=(4, 64, 64))
SLICES = PatchRule(divisors=(16, 16), smallest=(16, 16), dimensions=2)
CUBE = PatchRule(divisors=(16, 16, 16), smallest=(16, 16, 32))
FINER = PatchRule(divisors=(16, 16, 16), smallest=(16, 16, 32), taken=(8, 8, 8))
RULES = st.sampled_from([FLAT, SLICES, CUBE, FINER])


@given(lengths=st.tuples(*[st.integers(1, 300)] * 3), rule=RULES)
def test_what_is_fitted_is_taken_and_fitting_again_changes_nothing(lengths, rule):
    patch = rule.fit(lengths)
    assert rule.problem(patch) == ""
    assert rule.fit(patch) == patch
    assert rule.problem(rule.halve(patch)) == ""


@given(lengths=st.tuples(*[st.integers(2, 40)] * 3))
def test_what_is_taken_is_held_by_the_next_that_is_planned(lengths):
    patch = tuple(8 * length for length in lengths)
    assert (FINER.problem(patch) == "") == (max(patch) >= 32)
    held = FINER.hold(patch)
    assert all(length % 16 == 0 for length in held)
    if FINER.problem(patch) == "":
        assert all(0 <= more - length < 16 for more, length in zip(held, patch, strict=True))
    assert FINER.hold(held) == held
    assert "divisible by 8" in FINER.problem((patch[0] + 4, *patch[1:]))


def test_what_is_taken_is_left_as_it_is_and_named_as_the_nearest():
    assert FINER.nearest((40, 56, 40)) == (40, 56, 40)
    assert FINER.nearest((36, 56, 40)) == FINER.fit((36, 56, 40))
    with pytest.raises(SettingsError, match="24 x 48 x 32 or 32 x 48 x 32"):
        FINER.check((30, 48, 32))


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
