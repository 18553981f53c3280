"""Workbenches that pretend: candidates that are right, wrong, slow, noisy, or end their process."""

import ctypes
import time
from dataclasses import dataclass, field

from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate, Mode
from mednext_cli.networks.mednext.kernels.measuring.shapes import BlockShape
from mednext_cli.networks.mednext.kernels.measuring.trials import (
    Duration,
    Measured,
    Peaks,
    Planned,
    Trial,
)
from mednext_cli.networks.mednext.kernels.measuring.workbench import BlockBench

SHAPE = BlockShape("block", 2, 32, 64, 32, 3, (16, 16, 16))
BELOW = BlockShape("block", 2, 64, 128, 64, 3, (8, 8, 8))
USUAL = Mode()


class OutOfResources(Exception):
    """As Triton says that a kernel wants more shared memory than there is."""


@dataclass
class PretendedBench:
    """Does what it is told to, by the way of the candidate.

    Attributes:
        milliseconds: of each way.
        doing: what else a way does: "wrong", "crash", "hang", "resources", "memory", "raise", or
            "crash when timed".
        shapes: of the plan.
    """

    milliseconds: dict[str, float]
    doing: dict[str, str] = field(default_factory=dict)
    shapes: tuple[BlockShape, ...] = (SHAPE,)

    def plan(self):
        candidates = tuple(Candidate(way) for way in self.milliseconds)
        return [Planned(shape, 1, candidates) for shape in self.shapes]

    def rounding(self, shape):
        return {"output": 1e-7}

    def errors(self, shape, candidate):
        doing = self.doing.get(candidate.way)
        if doing == "crash":
            ctypes.string_at(0)
        if doing == "hang":
            time.sleep(600)
        if doing == "resources":
            raise OutOfResources("shared memory, required: 104448, limit: 101376")
        if doing == "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        if doing == "raise":
            raise RuntimeError("an illegal memory access was encountered")
        return {"output": 0.3 if doing == "wrong" else 0.01}

    def time(self, shape, candidates):
        if any(self.doing.get(one.way) == "crash when timed" for one in candidates):
            ctypes.string_at(0)
        return {one: Duration(self.milliseconds[one.way], 0.0) for one in candidates}

    def peaks(self):
        return Peaks(1e12, 1e11)


def refuse_to_begin():
    raise ValueError("no such device")


def measured(*trials, counts=(1, 1)):
    """What was measured, of (shape, candidate, milliseconds, spread or the reason to strike)."""
    made = [
        Trial(shape, one, 0.01, struck=rest[0])
        if isinstance(rest[0], str)
        else Trial(shape, one, 0.01, Duration(*rest))
        for shape, one, *rest in trials
    ]
    shapes = list(dict.fromkeys(trial.shape for trial in made))
    planned = (
        Planned(shape, count, tuple(one.candidate for one in made if one.shape == shape))
        for shape, count in zip(shapes, counts, strict=False)
    )
    return Measured(tuple(planned), tuple(made))


class StockBench(BlockBench):
    """The real one; of every shape the ways without fused operators alone."""

    def plan(self):
        return [Planned(one.shape, one.count, one.candidates[:2]) for one in super().plan()]


class SmallestBench(BlockBench):
    """The real one; fused operators only for the two smallest shapes: the interpreter is slow."""

    def __post_init__(self):
        import tests.conftest  # noqa: F401 - mends the interpreter, in this process too

        super().__post_init__()

    def plan(self):
        return [Planned(one.shape, one.count, _few(one)) for one in super().plan()]


def _few(planned):
    """Of small shapes all without fewer threads than there are, of others PyTorch's own."""
    if planned.shape.voxels != (1, 1, 2):
        return planned.candidates[:2]
    threads = planned.candidates[0].mode.threads
    return tuple(one for one in planned.candidates if one.mode.threads == threads)
