"""Which candidate is taken: the fastest, where it is faster by more than chance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate, Mode
from mednext_cli.networks.mednext.kernels.measuring.shapes import BlockShape
from mednext_cli.networks.mednext.kernels.measuring.trials import (
    Duration,
    Measured,
    Planned,
    Trial,
)

_LEAST_GAIN = 0.05
_SPREADS = 3.0
_NEVER = Duration(math.inf, 0.0)


@dataclass(frozen=True)
class Selected:
    """What is taken.

    Attributes:
        mode: of the network.
        ways: of each shape.
    """

    mode: Mode
    ways: Mapping[BlockShape, str]


def wins(candidate: Duration, holder: Duration) -> bool:
    """Whether a candidate is faster by a twentieth, and by three times the larger spread."""
    if math.isinf(holder.milliseconds):
        return math.isfinite(candidate.milliseconds)
    gain = holder.milliseconds - candidate.milliseconds
    spread = max(_spread(candidate), _spread(holder))
    return gain > max(_LEAST_GAIN * holder.milliseconds, _SPREADS * spread)


def _spread(duration: Duration) -> float:
    return 0.0 if math.isnan(duration.spread) else duration.spread


def select(measured: Measured) -> Selected:
    """One mode for the network, and in it one way for each shape.

    What runs where nothing was measured holds its place until another wins. Where nothing could
    be measured at all, it stays.
    """
    usual = measured.planned[0].candidates[0].mode
    totals = {mode: _total(measured, mode) for mode in _modes(measured.planned)}
    best = usual
    for mode, total in sorted(totals.items(), key=lambda item: item[1].milliseconds):
        if wins(total, totals[usual]):
            best = mode
            break
    ways = {one.shape: _choose(measured, one, best).way for one in measured.planned}
    return Selected(best, ways)


def _modes(planned: Sequence[Planned]) -> list[Mode]:
    return list(dict.fromkeys(one.mode for each in planned for one in each.candidates))


def _total(measured: Measured, mode: Mode) -> Duration:
    """All blocks of the network together, without those of which nothing could be timed."""
    known = [one for one in measured.planned if measured.of(one.shape)]
    chosen = [(one.count, _find(measured, one, mode)) for one in known]
    return Duration(
        sum(count * duration.milliseconds for count, duration in chosen),
        sum(count * _spread(duration) for count, duration in chosen),
    )


def _find(measured: Measured, planned: Planned, mode: Mode) -> Duration:
    candidate = _choose(measured, planned, mode)
    found = (trial for trial in measured.of(planned.shape) if trial.candidate == candidate)
    return next((trial.duration for trial in found if trial.duration is not None), _NEVER)


def _choose(measured: Measured, planned: Planned, mode: Mode) -> Candidate:
    """The winner for a shape in a mode; the mode's first candidate where none was timed."""
    holder = next(one for one in planned.candidates if one.serves(mode))
    timed = [trial for trial in measured.of(planned.shape) if trial.candidate.serves(mode)]
    by_time = sorted(timed, key=_milliseconds)
    held = next((trial for trial in timed if trial.candidate == holder), None)
    if held is None:
        return by_time[0].candidate if by_time else holder
    winners = (
        trial
        for trial in by_time
        if trial.duration and held.duration and wins(trial.duration, held.duration)
    )
    return next(winners, held).candidate


def _milliseconds(trial: Trial) -> float:
    return trial.duration.milliseconds if trial.duration else math.inf
