"""Seconds, processor time and peak memory of the stages of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from mednext_cli.deployment.measurement import Costs, StageCost
from mednext_cli.foundation.machine import GIB

_SECONDS_BETWEEN_SAMPLES = 0.01


class Stopwatch:
    """Times stages, and samples the resident memory.

    Args:
        device: whose peak is taken too, where it is a CUDA one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._peak = 0
        self._costs: Costs = {}
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample the memory while the block runs."""
        watcher = threading.Thread(target=self._sample, daemon=True, name="mednext-memory")
        watcher.start()
        try:
            yield
        finally:
            self._over.set()
            watcher.join()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Take the costs of a block as those of a stage, or of one more part of it."""
        self._peak = self._resident()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        started, worked = time.perf_counter(), time.process_time()
        yield
        seconds = time.perf_counter() - started
        self.note(stage, seconds, time.process_time() - worked)

    def note(self, stage: str, seconds: float, processor_seconds: float) -> None:
        """A part of a stage that is over, with the peak since it began."""
        self._peak = max(self._peak, self._resident())
        peak_gib, device_gib = self._peak / GIB, self._device_gib()
        if (before := self._costs.get(stage)) is not None:
            processor_seconds += before.cores * before.seconds
            seconds += before.seconds
            peak_gib = max(peak_gib, before.peak_gib)
            device_gib = None if device_gib is None else max(device_gib, before.device_gib or 0.0)
        self._costs[stage] = StageCost(
            seconds=seconds,
            cores=processor_seconds / max(seconds, 1e-9),
            peak_gib=peak_gib,
            device_gib=device_gib,
        )

    def take(self) -> Costs:
        """The stages since the last call."""
        costs, self._costs = self._costs, {}
        return costs

    def _device_gib(self) -> float | None:
        if self._device.type != "cuda":
            return None
        return torch.cuda.max_memory_reserved(self._device) / GIB

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)

    def _sample(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_SAMPLES):
            self._peak = max(self._peak, self._resident())
