"""The workbench of a network's blocks on a device; it lives in a process of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate, list_candidates
from mednext_cli.networks.mednext.kernels.measuring.checking import relative_errors
from mednext_cli.networks.mednext.kernels.measuring.peaks import measure_peaks
from mednext_cli.networks.mednext.kernels.measuring.shapes import (
    BlockShape,
    FoundBlock,
    find_blocks,
)
from mednext_cli.networks.mednext.kernels.measuring.subject import Quantities, Subject
from mednext_cli.networks.mednext.kernels.measuring.surroundings import poisoned_memory
from mednext_cli.networks.mednext.kernels.measuring.timing import Bench, bench_for, time_in_turns
from mednext_cli.networks.mednext.kernels.measuring.trials import (
    Duration,
    Errors,
    Peaks,
    Planned,
)
from mednext_cli.networks.mednext.ways import is_ours
from mednext_cli.networks.workload import Workload

_SECONDS = 2.0  # of the rounds of a shape
_HOPELESS = 3.0


@dataclass
class BlockBench:
    """Runs the blocks of a network in every way; see `Workbench`.

    Attributes:
        workload: what the network is run on.
        seconds: about how long the candidates of a shape are timed.
    """

    workload: Workload
    seconds: float = _SECONDS

    def __post_init__(self) -> None:
        found = find_blocks(self.workload).values()
        self._counts = Counter(one.shape for one in found)
        self._blocks: Mapping[BlockShape, FoundBlock] = {one.shape: one for one in found}
        self._bench: Bench = bench_for(self.workload.device)
        self._subject: Subject | None = None
        self._reference: Quantities | None = None

    def plan(self) -> Sequence[Planned]:
        """Every distinct shape, in the order of the forward pass."""
        return [
            Planned(shape, count, tuple(list_candidates(shape, self.workload)))
            for shape, count in self._counts.items()
        ]

    def rounding(self, shape: BlockShape) -> Errors:
        """Of float32."""
        reference = self._reference_of(shape)
        return relative_errors(self._at(shape).reference(nudged=True), reference)

    def errors(self, shape: BlockShape, candidate: Candidate) -> Errors:
        """At the shape's true size; memory that kernels of ours write is poisoned before."""
        reference = self._reference_of(shape)
        with poisoned_memory() if is_ours(candidate.way) else nullcontext():
            found = self._at(shape).quantities(candidate)
        return relative_errors(found, reference)

    def _reference_of(self, shape: BlockShape) -> Quantities:
        subject = self._at(shape)
        if self._reference is None:
            self._reference = subject.reference()
        return self._reference

    def time(
        self, shape: BlockShape, candidates: Sequence[Candidate]
    ) -> Mapping[Candidate, Duration]:
        """Whole chains, in turns; candidates three times slower than the fastest leave early."""
        self._reference = None  # its memory is wanted now
        subject = self._at(shape)
        works = {str(number): subject.work(one) for number, one in enumerate(candidates)}
        timings = time_in_turns(works, self._bench, seconds=self.seconds, hopeless=_HOPELESS)
        return {
            one: Duration(timed.milliseconds, timed.spread)
            for one, timed in zip(candidates, timings.timed.values(), strict=True)
        }

    def peaks(self) -> Peaks:
        """Of the workload's number format."""
        return measure_peaks(self.workload.device, self.workload.dtype, self._bench)

    def _at(self, shape: BlockShape) -> Subject:
        if self._subject is None or self._subject.shape != shape:
            self._subject = self._reference = None
            if self.workload.device.type == "cuda":
                torch.cuda.empty_cache()
            self._subject = Subject(self._blocks[shape], self.workload)
        return self._subject
