"""Candidates in turns: order, medians, who leaves early, and the benches of real devices."""

import math

import pytest
import torch

from mednext_cli.networks.mednext.kernels.measuring.benches import CpuBench, CudaBench
from mednext_cli.networks.mednext.kernels.measuring.clocks import Clocks, clocks_of_line
from mednext_cli.networks.mednext.kernels.measuring.timing import bench_for, time_in_turns
from tests.networks.mednext.kernels.measuring.benches import FakeBench


def test_candidates_take_turns_and_nothing_waits_between_them():
    bench = FakeBench()
    time_in_turns({"a": bench.takes("a", 1), "b": bench.takes("b", 2)}, bench, rounds=3)
    assert bench.events == ["a", "b", "wait", "a", "b", "wait", "a", "b", "a", "b"]


def test_median_and_spread_are_of_the_samples_without_the_warm_up():
    bench = FakeBench()
    work = bench.takes("a", 1000, 9, 1, 3, 5, 7)
    timed = time_in_turns({"a": work}, bench, rounds=5).timed["a"]
    assert timed.samples == (9, 1, 3, 5, 7)
    assert (timed.milliseconds, timed.spread, timed.peak_bytes) == (5, 2, 7)


def test_clocks_are_read_while_work_is_queued():
    bench = FakeBench()
    timings = time_in_turns({"a": bench.takes("a", 1)}, bench, rounds=5)
    assert timings.clocks == Clocks(4, 0, 0, 0)


def test_hopeless_candidates_leave_after_the_first_round():
    bench = FakeBench()
    candidates = {"fast": bench.takes("fast", 1), "slow": bench.takes("slow", 3.1)}
    timed = time_in_turns(candidates, bench, rounds=4, hopeless=3).timed
    assert (len(timed["fast"].samples), len(timed["slow"].samples)) == (4, 1)
    assert math.isnan(timed["slow"].spread)


@pytest.mark.parametrize(("seconds", "rounds"), [(1.0, 10), (0.05, 5), (0.0, 3)])
def test_rounds_fit_the_time_but_are_never_fewer_than_three(seconds, rounds):
    bench = FakeBench()
    timed = time_in_turns({"a": bench.takes("a", 10)}, bench, rounds=10, seconds=seconds).timed
    assert len(timed["a"].samples) == rounds


def test_a_candidate_that_fails_says_so():
    with pytest.raises(ZeroDivisionError):
        time_in_turns({"a": lambda: 1 / 0}, FakeBench())


def test_cpu_work_is_timed_by_the_clock_that_is_given():
    ticks = iter(range(100))
    bench = CpuBench(clock=lambda: next(ticks), cache_bytes=1)
    timed = time_in_turns({"a": lambda: None, "b": lambda: next(ticks)}, bench, rounds=2).timed
    assert timed["a"].samples == (1000, 1000)
    assert timed["b"].samples == (2000, 2000)


def test_the_cpu_has_a_bench():
    x = torch.randn(64, 64)
    timings = time_in_turns({"product": lambda: x @ x}, bench_for(torch.device("cpu")), rounds=3)
    assert timings.timed["product"].milliseconds > 0
    assert timings.clocks is None


def test_clocks_are_nvidia_smis():
    assert clocks_of_line("1755, 2619, 41, 310.25\n") == Clocks(1755, 2619, 41, 310.25)
    unknown = clocks_of_line("1755, 2619, 41, [N/A]")
    assert unknown is not None
    assert math.isnan(unknown.watts)
    assert clocks_of_line("No devices were found") is None


@pytest.mark.gpu
@pytest.mark.parametrize("as_launched", [False, True])
def test_on_a_gpu_work_is_captured_unless_it_is_timed_as_launched(as_launched):
    x = torch.zeros(1024, device="cuda")
    bench = CudaBench(x.device, as_launched)
    timed = time_in_turns({"work": lambda: x.add_(1.0)}, bench, rounds=5).timed["work"]
    assert timed.captured is not as_launched
    assert len(timed.samples) == 5
    assert min(timed.samples) > 0
    assert x[0] == 3 + 5  # warm-ups and rounds; a capture does nothing


@pytest.mark.gpu
def test_on_a_gpu_work_that_cannot_be_captured_is_timed_all_the_same():
    x = torch.zeros(1024, device="cuda")
    timed = time_in_turns({"work": lambda: x.sum().item()}, CudaBench(x.device), rounds=3)
    assert not timed.timed["work"].captured
    # Random numbers are no longer those of a capture.
    assert torch.randn(1, device="cuda").isfinite()
