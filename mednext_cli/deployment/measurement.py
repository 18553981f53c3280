"""What measuring a configuration gave, as it is kept between two runs of the same command."""

from typing import Annotated, Literal

from pydantic import Field

from mednext_cli.inference.stages import STAGES
from mednext_cli.settings.values import Count, Frozen, NotNegative

START, LOAD = "start", "load"
COLD_STAGES = (START, LOAD, *STAGES)
"""What a process goes through before and with its first scan."""


class StageCost(Frozen):
    """What a stage took.

    Attributes:
        seconds: of the clock.
        cores: seconds of the processor for each of them.
        peak_gib: largest resident memory of the process meanwhile.
        device_gib: largest memory that PyTorch held on the GPU; None without one.
    """

    seconds: NotNegative
    cores: NotNegative
    peak_gib: NotNegative
    device_gib: NotNegative | None = None


Costs = dict[str, StageCost]


class Measurement(Frozen):
    """The stages of one process: before its first scan, with it, and with further ones.

    Attributes:
        cold: stages of `COLD_STAGES`.
        warm: the stages of each further prediction.
        tiles: of the scan, with mirrorings and networks.
        prepared_voxels: (D, H, W) that the networks see.
        measured: when, as ISO 8601.
    """

    kind: Literal["measurement"] = "measurement"
    cold: Costs
    warm: Annotated[tuple[Costs, ...], Field(min_length=1)]
    tiles: Count
    prepared_voxels: tuple[int, int, int]
    measured: str


class Failure(Frozen):
    """Why there is nothing, in one line."""

    kind: Literal["failure"] = "failure"
    problem: str
