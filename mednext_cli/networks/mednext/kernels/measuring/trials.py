"""What is asked of a workbench, and what came of every candidate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate
from mednext_cli.networks.mednext.kernels.measuring.shapes import BlockShape

Errors = Mapping[str, float]
"""Relative L2 distance to the reference of each quantity: output and gradients."""


@dataclass(frozen=True)
class Planned:
    """A shape to measure.

    Attributes:
        shape: of a block.
        count: how many blocks of the network have it.
        candidates: what is tried; the first runs where nothing was measured.
    """

    shape: BlockShape
    count: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Peaks:
    """What the device reaches at its best, as measured beside the candidates.

    Attributes:
        flops: multiply-adds counted twice, a second, of a large product of matrices.
        bytes: read and written, a second, of a large copy.
    """

    flops: float
    bytes: float


@dataclass(frozen=True)
class Duration:
    """How long a candidate takes.

    Attributes:
        milliseconds: median.
        spread: half the distance between the quartiles, milliseconds; NaN of one sample.
    """

    milliseconds: float
    spread: float


class Workbench(Protocol):
    """Runs candidates on a device: the real one, or a test's."""

    def plan(self) -> Sequence[Planned]:
        """What there is to measure."""
        ...

    def rounding(self, shape: BlockShape) -> Errors:
        """How far the reference moves where its image is rounded otherwise: below is only noise."""
        ...

    def errors(self, shape: BlockShape, candidate: Candidate) -> Errors:
        """Run it once, and compare with float32; raises whatever the candidate raises."""
        ...

    def time(
        self, shape: BlockShape, candidates: Sequence[Candidate]
    ) -> Mapping[Candidate, Duration]:
        """Time these in turns."""
        ...

    def peaks(self) -> Peaks:
        """What the device reaches."""
        ...


@dataclass(frozen=True)
class Trial:
    """What came of a candidate for a shape.

    Attributes:
        shape: of the block.
        candidate: that was tried.
        deviation: the largest of its `Errors`; NaN where it gave nothing.
        duration: None where it was not timed.
        struck: why it is out; "" where it is not.
    """

    shape: BlockShape
    candidate: Candidate
    deviation: float = math.nan
    duration: Duration | None = None
    struck: str = ""


@dataclass(frozen=True)
class Measured:
    """All trials of a network.

    Attributes:
        planned: what was to be measured.
        trials: in the order of the plan.
        peaks: of the device; None where it would not tell.
    """

    planned: tuple[Planned, ...]
    trials: tuple[Trial, ...]
    peaks: Peaks | None = None

    def of(self, shape: BlockShape) -> list[Trial]:
        """The trials of a shape that were timed and are not struck out."""
        return [
            trial
            for trial in self.trials
            if trial.shape == shape and not trial.struck and trial.duration is not None
        ]
