"""Which candidate wins, and which mode of the network."""

import math

import pytest

from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate, Mode
from mednext_cli.networks.mednext.kernels.measuring.selecting import Selected, select, wins
from mednext_cli.networks.mednext.kernels.measuring.trials import Duration
from tests.networks.mednext.kernels.measuring.workbenches import BELOW, SHAPE, USUAL, measured

STOCK, TRITON = Candidate("pytorch"), Candidate("triton")
CONTIGUOUS = Candidate("pytorch", Mode("contiguous"))
TRYING = Candidate("pytorch", Mode(benchmark=True))


@pytest.mark.parametrize(
    ("candidate", "holder", "won"),
    [
        ((9.4, 0.0), (10.0, 0.0), True),
        ((9.6, 0.0), (10.0, 0.0), False),  # four percent
        ((8.0, 0.5), (10.0, 0.0), True),
        ((8.0, 0.7), (10.0, 0.0), False),  # three times its spread is more
        ((8.0, 0.0), (10.0, 0.7), False),  # and the holder's counts as well
        ((9.0, math.nan), (10.0, 0.0), True),
        ((9.0, 0.0), (math.inf, 0.0), True),
        ((math.inf, 0.0), (math.inf, 0.0), False),
    ],
)
def test_who_is_faster_by_more_than_chance_wins(candidate, holder, won):
    assert wins(Duration(*candidate), Duration(*holder)) is won


def test_each_shape_takes_its_own_winner():
    found = measured(
        (SHAPE, STOCK, 10.0, 0.1), (SHAPE, TRITON, 4.0, 0.1),
        (BELOW, STOCK, 1.0, 0.01), (BELOW, TRITON, 0.99, 0.01),
    )  # fmt: skip
    assert select(found) == Selected(USUAL, {SHAPE: "triton", BELOW: "pytorch"})


def test_the_fastest_of_several_winners_is_taken():
    wide = Candidate("triton:wide")
    found = measured((SHAPE, STOCK, 10.0, 0.1), (SHAPE, TRITON, 4.0, 0.1), (SHAPE, wide, 3.9, 0.1))
    assert select(found).ways[SHAPE] == "triton:wide"


def test_a_noisy_candidate_leaves_the_place_to_a_steady_one():
    noisy = Candidate("triton:wide")
    found = measured((SHAPE, STOCK, 10.0, 0.1), (SHAPE, TRITON, 4.0, 0.1), (SHAPE, noisy, 3.0, 9.0))
    assert select(found).ways[SHAPE] == "triton"


def test_what_is_struck_out_is_never_taken():
    found = measured((SHAPE, STOCK, 10.0, 0.1), (SHAPE, TRITON, "wrong"))
    assert select(found).ways[SHAPE] == "pytorch"


def test_one_layout_is_taken_for_the_whole_network():
    """The other one wins one shape, but loses the sum."""
    trials = (
        (SHAPE, STOCK, 10.0, 0.1), (SHAPE, CONTIGUOUS, 8.0, 0.1),
        (BELOW, STOCK, 2.0, 0.1), (BELOW, CONTIGUOUS, 3.0, 0.1),
    )  # fmt: skip
    assert select(measured(*trials, counts=(1, 4))).mode == USUAL
    assert select(measured(*trials, counts=(4, 1))).mode == CONTIGUOUS.mode


def test_ours_run_whether_or_not_cudnn_tries_its_algorithms():
    found = measured(
        (SHAPE, STOCK, 10.0, 0.1), (SHAPE, TRYING, 9.9, 0.1), (SHAPE, TRITON, 4.0, 0.1),
        (BELOW, STOCK, 10.0, 0.1), (BELOW, TRYING, 2.0, 0.1), (BELOW, TRITON, 12.0, 0.1),
    )  # fmt: skip
    assert select(found) == Selected(TRYING.mode, {SHAPE: "triton", BELOW: "pytorch"})


def test_where_the_usual_is_wrong_the_fastest_right_one_runs():
    found = measured((SHAPE, STOCK, "wrong"), (SHAPE, CONTIGUOUS, 20.0, 0.1))
    assert select(found) == Selected(CONTIGUOUS.mode, {SHAPE: "pytorch"})


def test_a_shape_that_could_not_be_measured_stays_and_spoils_no_other():
    found = measured(
        (SHAPE, STOCK, "out of memory"), (SHAPE, CONTIGUOUS, "out of memory"),
        (BELOW, STOCK, 10.0, 0.1), (BELOW, CONTIGUOUS, 2.0, 0.1),
    )  # fmt: skip
    assert select(found) == Selected(CONTIGUOUS.mode, {SHAPE: "pytorch", BELOW: "pytorch"})
