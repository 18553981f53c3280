"""The stages of a measurement: cold, and median and spread of the warm predictions."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mednext_cli.deployment.measurement import COLD_STAGES, Costs, Measurement, StageCost
from mednext_cli.inference.stages import STAGES

WHOLE = "prediction"
"""All stages that a scan goes through, from its file to that of its label map."""


@dataclass(frozen=True)
class StageSummary:
    """One stage, or the whole prediction.

    Attributes:
        stage: its name.
        cold_seconds: in a fresh process.
        warm_seconds: of each further prediction; none of what happens once a process.
        cores: processor seconds for each second, warm where there is that; median.
        peak_gib: largest resident memory of the process.
        device_gib: largest memory held on the GPU; None without one.
    """

    stage: str
    cold_seconds: float
    warm_seconds: tuple[float, ...]
    cores: float
    peak_gib: float
    device_gib: float | None

    @property
    def median_seconds(self) -> float | None:
        """Of the warm predictions."""
        return statistics.median(self.warm_seconds) if self.warm_seconds else None

    @property
    def fastest_seconds(self) -> float | None:
        """Of the warm predictions."""
        return min(self.warm_seconds, default=None)

    @property
    def slowest_seconds(self) -> float | None:
        """Of the warm predictions."""
        return max(self.warm_seconds, default=None)


def summarise(found: Measurement) -> dict[str, StageSummary]:
    """Every stage in order, the whole prediction last."""
    cold = {**found.cold, WHOLE: _whole(found.cold)}
    warm = [{**costs, WHOLE: _whole(costs)} for costs in found.warm]
    return {stage: _summarise(stage, cold, warm) for stage in (*COLD_STAGES, WHOLE)}


def _whole(costs: Costs) -> StageCost:
    parts = [costs[stage] for stage in STAGES]
    seconds = sum(part.seconds for part in parts)
    worked = sum(part.seconds * part.cores for part in parts)
    on_device = [part.device_gib for part in parts if part.device_gib is not None]
    return StageCost(
        seconds=seconds,
        cores=worked / max(seconds, 1e-9),
        peak_gib=max(part.peak_gib for part in parts),
        device_gib=max(on_device, default=None),
    )


def _summarise(stage: str, cold: Costs, warm: Sequence[Costs]) -> StageSummary:
    repeated = [costs[stage] for costs in warm if stage in costs]
    every = [cold[stage], *repeated]
    on_device = [cost.device_gib for cost in every if cost.device_gib is not None]
    return StageSummary(
        stage=stage,
        cold_seconds=cold[stage].seconds,
        warm_seconds=tuple(cost.seconds for cost in repeated),
        cores=statistics.median(cost.cores for cost in repeated or every),
        peak_gib=max(cost.peak_gib for cost in every),
        device_gib=max(on_device, default=None),
    )
