"""Measuring in another process: what is wrong, crashes, hangs or asks too much is struck out."""

import logging
from functools import partial

import pytest

from mednext_cli.networks.mednext.kernels.measuring.apart import RefusedError
from mednext_cli.networks.mednext.kernels.measuring.measure import Limits, measure
from mednext_cli.networks.mednext.kernels.measuring.selecting import select
from tests.networks.mednext.kernels.measuring.workbenches import (
    BELOW,
    SHAPE,
    PretendedBench,
    refuse_to_begin,
)

pytestmark = pytest.mark.slow  # each begins a process, which imports torch
WAYS = ("pytorch", "triton", "triton:narrow", "triton:wide", "triton:short", "tensor_cores")


def _struck(found):
    return {trial.candidate.way: trial.struck for trial in found.trials if trial.struck}


def test_the_fastest_that_is_right_is_taken(caplog):
    bench = partial(
        PretendedBench,
        {"pytorch": 10.0, "triton": 4.0, "triton:wide": 1.0, "triton:narrow": 2.0},
        {"triton:wide": "wrong", "triton:narrow": "resources"},
        (SHAPE, BELOW),
    )
    with caplog.at_level(logging.INFO, "mednext_cli"):
        found = measure(bench)
    assert select(found).ways == {SHAPE: "triton", BELOW: "triton"}
    assert _struck(found) == {
        "triton:wide": "output deviates by 0.3, PyTorch's own by 0.01",
        "triton:narrow": "out of resources: shared memory, required: 104448, limit: 101376",
    }
    assert found.peaks is not None
    named = [text for text in caplog.messages if "is struck out of 2 shapes" in text]
    assert len(named) == 2


def test_crashes_and_hangs_end_nothing_but_themselves():
    doing = dict(zip(WAYS[1:], ("crash", "hang", "raise", "memory", "right"), strict=True))
    bench = partial(PretendedBench, dict.fromkeys(WAYS, 10.0) | {"tensor_cores": 1.0}, doing)
    found = measure(bench, Limits(candidate=5))
    assert _struck(found) == {
        "triton": "the process died by SIGSEGV",
        "triton:narrow": "took more than 5 s",
        "triton:wide": "RuntimeError: an illegal memory access was encountered",
        "triton:short": "out of memory",
    }
    assert select(found).ways == {SHAPE: "tensor_cores"}


def test_a_crash_among_others_is_found_by_pairs():
    milliseconds = {"pytorch": 10.0, "triton": 4.0, "triton:wide": 1.0}
    found = measure(partial(PretendedBench, milliseconds, {"triton:wide": "crash when timed"}))
    assert _struck(found) == {"triton:wide": "the process died by SIGSEGV"}
    assert select(found).ways == {SHAPE: "triton"}


def test_what_is_not_tried_in_time_stays_as_it_is():
    clock = iter([0.0, 0.0, 0.0, 0.0, 0.0])
    bench = partial(PretendedBench, {"pytorch": 10.0, "triton": 4.0}, {}, (SHAPE, BELOW))
    found = measure(bench, Limits(total=5), lambda: next(clock, 6.0))
    assert select(found).ways == {SHAPE: "triton", BELOW: "pytorch"}
    assert {one.struck for one in found.trials if one.shape == BELOW} == {
        "not tried: 5 s were over"
    }


def test_a_workbench_that_cannot_be_made_is_refused_with_its_reason():
    with pytest.raises(RefusedError, match="ValueError: no such device"):
        measure(refuse_to_begin)
