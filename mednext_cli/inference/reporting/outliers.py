"""Which cases are unlike the others: robust z of log volumes and of uncertainties."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, log, nan

import numpy as np
from numpy.typing import NDArray

from mednext_cli.inference.reporting.cases import ReportedCase

FEWEST = 5  # cases, below which nothing is said to be unlike the others
LIMIT = 3.5  # Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993), as is the 0.6745
_NORMAL = 0.6745  # of a normal distribution, the median absolute deviation in standard deviations


@dataclass(frozen=True)
class Standing:
    """How a case compares with the others of its folder.

    Attributes:
        volume_z: robust z of the log volume by structure; nan where it has none.
        uncertainty_z: robust z of the mean uncertainty.
        reasons: why it is to be looked at, a line each; empty where it is like the others.
    """

    volume_z: Mapping[str, float]
    uncertainty_z: float
    reasons: tuple[str, ...]

    @property
    def distance(self) -> float:
        """From the others: the largest of all; 0 where nothing is known."""
        least_sure = max(self.uncertainty_z, 0.0)  # who is surer than others is no oddity
        return max(
            (abs(z) for z in (*self.volume_z.values(), least_sure) if not isnan(z)), default=0.0
        )


def robust_z(values: Sequence[float]) -> NDArray[np.float64]:
    """Distances from the median, in robust standard deviations (median absolute deviation).

    Returns:
        nan for what is nan or infinite, and for all where fewer than `FEWEST` are finite or more
        than half of them are alike.
    """
    given = np.asarray(values, dtype=np.float64)
    finite = given[np.isfinite(given)]
    found = np.full(len(given), nan)
    if len(finite) < FEWEST:
        return found
    centre = np.median(finite)
    spread = np.median(np.abs(finite - centre))
    if spread > 0:
        usable = np.isfinite(given)
        found[usable] = _NORMAL * (given[usable] - centre) / spread
    return found


def compare(cases: Sequence[ReportedCase]) -> list[Standing]:
    """How each case stands among all; in their order.

    A structure that is not found in a case is unlike the others where at least `FEWEST` cases and
    more than half of all have it: its z is minus infinity.
    """
    names = dict.fromkeys(name for case in cases for name in case.volumes_ml)
    by_name = {name: _volume_z(name, cases) for name in names}
    doubts = robust_z([case.uncertainty for case in cases])
    standings = []
    for index, case in enumerate(cases):
        own = {name: float(by_name[name][index]) for name in case.volumes_ml}
        doubt = float(doubts[index])
        reasons = [_of_volume(name, z, case) for name, z in own.items() if abs(z) > LIMIT]
        if doubt > LIMIT:
            reasons.append(f"uncertainty {case.uncertainty:.3f}, z {doubt:+.1f}")
        standings.append(Standing(own, doubt, tuple(reasons)))
    return standings


def in_order(
    cases: Sequence[ReportedCase],
) -> list[tuple[ReportedCase, Standing]]:
    """The cases, those farthest from the others first; then the least certain; then by id."""
    pairs = zip(cases, compare(cases), strict=True)
    return sorted(
        pairs,
        key=lambda pair: (
            -pair[1].distance,
            inf if isnan(pair[0].uncertainty) else -pair[0].uncertainty,
            pair[0].case_id,
        ),
    )


def _volume_z(name: str, cases: Sequence[ReportedCase]) -> NDArray[np.float64]:
    known = [case.volumes_ml.get(name, nan) for case in cases]
    found = robust_z([log(ml) if ml > 0 else nan for ml in known])
    there = sum(ml > 0 for ml in known)
    if there >= FEWEST and there > len(cases) / 2:
        found[[ml == 0 for ml in known]] = -inf
    return found


def _of_volume(name: str, z: float, case: ReportedCase) -> str:
    if z == -inf:
        return f"{name} not found"
    return f"{name} {case.volumes_ml[name]:.4g} ml, z {z:+.1f}"
