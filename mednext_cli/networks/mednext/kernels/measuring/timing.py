"""Candidates for the same work, timed in turns.

One candidate after the other would be timed at another clock and temperature of the device; in
turns, A B C A B C, they share what changes. Nothing waits for the device between calls: what the
host takes to hand work over would otherwise drown operators of 0.1 ms.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from mednext_cli.networks.mednext.kernels.measuring.clocks import Clocks

Work = Callable[[], object]
Reading = Callable[[], float]
FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Prepared:
    """Work that was done before, so that only doing it again is left to time.

    Attributes:
        run: does it once more.
        peak_bytes: of the device's memory while it was done; None where nobody counts.
        captured: whether `run` replays a CUDA graph, so that no time of the host is in it.
        host_seconds: what the host takes to hand the work over.
    """

    run: Work
    peak_bytes: int | None = None
    captured: bool = False
    host_seconds: float = 0.0


class Bench(Protocol):
    """Where work is done and timed; a test has one whose clock it moves itself."""

    def prepare(self, work: Work) -> Prepared:
        """Do it a few times: what is compiled, chosen or allocated at first is not timed."""
        ...

    def start(self, prepared: Prepared) -> Reading:
        """Do it, perhaps only later; the reading is good once the bench was waited for."""
        ...

    def wait(self) -> None:
        """Until all that was started is done."""
        ...

    def clocks(self) -> Clocks | None:
        """Clocks and temperature now; None where the device does not tell."""
        ...


@dataclass(frozen=True)
class Timed:
    """How long some work takes.

    Attributes:
        milliseconds: median.
        spread: half the distance between the quartiles, milliseconds; NaN of one sample.
        samples: all of them, milliseconds, in the order in which they were taken.
        peak_bytes: as in `Prepared`.
        captured: as in `Prepared`.
    """

    milliseconds: float
    spread: float
    samples: tuple[float, ...]
    peak_bytes: int | None = None
    captured: bool = False


@dataclass(frozen=True)
class Timings:
    """Of all candidates of one call.

    Attributes:
        timed: by the candidate's name.
        clocks: while the last round ran.
    """

    timed: Mapping[str, Timed]
    clocks: Clocks | None


def time_in_turns(
    candidates: Mapping[str, Work],
    bench: Bench,
    *,
    rounds: int = 20,
    seconds: float = math.inf,
    hopeless: float = math.inf,
) -> Timings:
    """Time every candidate once a round.

    Args:
        candidates: by name; each does the whole work once, on its own inputs.
        bench: of the device.
        rounds: how many, the first included.
        seconds: about how long the rounds may take together; at least three are taken.
        hopeless: candidates slower than so many times the fastest leave after the first round.

    Raises:
        Exception: whatever a candidate raises.
    """
    prepared = {name: bench.prepare(work) for name, work in candidates.items()}
    samples = _take_round(prepared, bench)
    first = {name: readings[0]() for name, readings in samples.items()}
    left = {
        name: one for name, one in prepared.items() if first[name] <= hopeless * min(first.values())
    }
    more = _rounds_within(rounds, seconds, sum(first[name] for name in left)) - 1
    for _ in range(more):
        for name, one in left.items():
            samples[name].append(bench.start(one))
    clocks = bench.clocks()
    bench.wait()
    timed = {
        name: _timed([reading() for reading in readings], prepared[name])
        for name, readings in samples.items()
    }
    return Timings(timed, clocks)


def _take_round(prepared: Mapping[str, Prepared], bench: Bench) -> dict[str, list[Reading]]:
    samples = {name: [bench.start(one)] for name, one in prepared.items()}
    bench.wait()
    return samples


def _rounds_within(rounds: int, seconds: float, milliseconds_a_round: float) -> int:
    if milliseconds_a_round * rounds <= 1e3 * seconds:
        return rounds
    return min(rounds, max(FEWEST_ROUNDS, int(1e3 * seconds / milliseconds_a_round)))


def _timed(samples: list[float], prepared: Prepared) -> Timed:
    return Timed(
        statistics.median(samples),
        spread_of(samples),
        tuple(samples),
        prepared.peak_bytes,
        prepared.captured,
    )


def spread_of(samples: list[float]) -> float:
    """Half the distance between the quartiles; NaN of one sample."""
    if len(samples) == 1:
        return math.nan
    lower, _, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return (upper - lower) / 2


def bench_for(device: torch.device) -> Bench:
    """The bench of a CUDA device, or of the CPU, where work is done at once."""
    from mednext_cli.networks.mednext.kernels.measuring.benches import CpuBench, CudaBench

    return CudaBench(device) if device.type == "cuda" else CpuBench()
