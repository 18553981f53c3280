"""Every candidate of every shape: checked first, then timed beside the others that passed."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mednext_cli.foundation.progress import Progress, track
from mednext_cli.networks.mednext.kernels.measuring.apart import Apart, RefusedError
from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate
from mednext_cli.networks.mednext.kernels.measuring.checking import fault, own_errors
from mednext_cli.networks.mednext.kernels.measuring.trials import (
    Duration,
    Errors,
    Measured,
    Peaks,
    Planned,
    Trial,
    Workbench,
)
from mednext_cli.networks.mednext.ways import PYTORCH

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Seconds after which something is given up.

    Attributes:
        candidate: compiling and running one, once.
        timing: all candidates of a shape.
        total: everything; what is not tried by then stays as it runs without measurement.
    """

    candidate: float = 90.0
    timing: float = 120.0
    total: float = 600.0


PATIENT = Limits(candidate=900.0, timing=900.0, total=7200.0)
"""Of who asks for a measurement and waits for it, be the machine busy or slow."""


def measure(
    make: Callable[[], Workbench],
    limits: Limits = Limits(),
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Measure all shapes of a network's blocks, in a process of its own.

    Args:
        make: makes the workbench; can be pickled.
        limits: of time.
        clock: seconds.

    Raises:
        RefusedError: there is no such workbench on this machine.
    """
    with Apart(make) as bench:
        planned: Sequence[Planned] = bench.ask("plan", seconds=limits.timing)
        steps = sum(len(one.candidates) + 1 for one in planned)
        with track("measuring operators", steps, "trials") as bar:
            session = _Session(bench, limits, bar, clock)
            trials = [trial for one in planned for trial in session.try_shape(one)]
        measured = Measured(tuple(planned), tuple(trials), session.peaks())
    _name_struck(trials)
    return measured


class _Session:
    def __init__(
        self, bench: Apart, limits: Limits, bar: Progress, clock: Callable[[], float]
    ) -> None:
        self._bench, self._limits, self._bar = bench, limits, bar
        self._clock = clock
        self._end = clock() + limits.total

    def try_shape(self, planned: Planned) -> list[Trial]:
        """What came of each candidate."""
        self._bar.advance(0, note=planned.shape.name)
        try:
            rounding: Errors = self._ask("rounding", self._limits.candidate, planned.shape)
        except RefusedError as error:
            return self._pass_over(planned, str(error))
        errors = {one: self._check(planned, one) for one in planned.candidates}
        known = {one: found for one, found in errors.items() if not isinstance(found, str)}
        stock = (found for one, found in known.items() if one.way == PYTORCH)
        own = own_errors(stock, rounding)
        trials = [_judge(planned, one, found, own) for one, found in errors.items()]
        durations = self._time(planned, [one.candidate for one in trials if not one.struck])
        self._bar.advance(1, note=planned.shape.name)
        return [_timed(one, durations.get(one.candidate)) for one in trials]

    def _pass_over(self, planned: Planned, reason: str) -> list[Trial]:
        self._bar.advance(len(planned.candidates) + 1, note=planned.shape.name)
        return [Trial(planned.shape, one, struck=reason) for one in planned.candidates]

    def _check(self, planned: Planned, candidate: Candidate) -> Errors | str:
        try:
            found: Errors = self._ask("errors", self._limits.candidate, planned.shape, candidate)
        except RefusedError as error:
            return str(error)
        finally:
            self._bar.advance(1, note=f"{planned.shape.name}: {candidate.name}")
        return found

    def _time(
        self, planned: Planned, candidates: Sequence[Candidate]
    ) -> Mapping[Candidate, Duration | str]:
        """All in turns; where one of them ends the process, each beside the first alone."""
        if not candidates:
            return {}
        together = self._time_these(planned, candidates)
        if not isinstance(together, str):
            return together
        if len(candidates) == 1:
            return {candidates[0]: together}
        found: dict[Candidate, Duration | str] = {}
        for one in candidates[1:]:
            pair = self._time_these(planned, [candidates[0], one])
            found.update({one: pair} if isinstance(pair, str) else pair)
        return found

    def _time_these(
        self, planned: Planned, candidates: Sequence[Candidate]
    ) -> Mapping[Candidate, Duration] | str:
        try:
            found: Mapping[Candidate, Duration] = self._ask(
                "time", self._limits.timing, planned.shape, candidates
            )
        except RefusedError as error:
            return str(error)
        return found

    def _ask(self, what: str, seconds: float, *arguments: object) -> Any:  # noqa: ANN401 - see `Apart`
        left = self._end - self._clock()
        if left <= 0:
            raise RefusedError(f"not tried: {self._limits.total:.0f} s were over")
        return self._bench.ask(what, *arguments, seconds=min(seconds, left))

    def peaks(self) -> Peaks | None:
        """Of the device; nice to know, and no more."""
        try:
            found: Peaks = self._ask("peaks", self._limits.candidate)
        except RefusedError:
            return None
        return found


def _judge(planned: Planned, candidate: Candidate, found: Errors | str, own: Errors) -> Trial:
    trial = Trial(planned.shape, candidate)
    if isinstance(found, str):
        return replace(trial, struck=found)
    return replace(trial, deviation=max(found.values()), struck=fault(found, own))


def _timed(trial: Trial, duration: Duration | str | None) -> Trial:
    if isinstance(duration, str):
        return replace(trial, struck=duration)
    return replace(trial, duration=duration)


def _name_struck(trials: Sequence[Trial]) -> None:
    """Each candidate once, with the first reason."""
    struck: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.struck:
            struck.setdefault(trial.candidate.name, []).append(trial)
    for name, some in struck.items():
        shapes = len({trial.shape for trial in some})
        logger.info(
            "operators: %s is struck out of %d shapes; %s: %s",
            name,
            shapes,
            some[0].shape.name,
            some[0].struck,
        )
