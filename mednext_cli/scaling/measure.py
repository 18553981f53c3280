"""Time and peak memory of a network on the user's own device."""

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.dry_run import segmentation_loss
from mednext_cli.scaling.roofline import PUBLISHED_STEPS

_REPEATS = 10
_SECONDS = 20.0  # enough repeats for a median; large networks on CPUs get fewer
_SECONDS_BETWEEN_SAMPLES = 0.002


@dataclass(frozen=True)
class Repeated:
    """Of some work, done often.

    Attributes:
        seconds: median.
        spread_seconds: half the distance between the quartiles.
        gib: peak of the first time: on CUDA of PyTorch's allocator, else of the process's growth.
    """

    seconds: float
    spread_seconds: float
    gib: float


@dataclass(frozen=True)
class Measurement:
    """A network on a device.

    Attributes:
        forward: one patch, without gradients.
        step: forward, loss and backward of a batch, all outputs, without the optimiser.
        precision: number format of the convolutions.
    """

    forward: Repeated
    step: Repeated
    precision: str

    def columns(self) -> dict[str, float | str]:
        """As in scale_report.csv."""
        return {
            "forward_seconds": self.forward.seconds,
            "forward_spread_seconds": self.forward.spread_seconds,
            "forward_gib": self.forward.gib,
            "step_seconds": self.step.seconds,
            "step_spread_seconds": self.step.spread_seconds,
            "step_gib": self.step.gib,
            "training_hours": self.step.seconds * PUBLISHED_STEPS / 3600,
            "precision": self.precision,
        }


def measure_network(
    spec: NetworkSpec,
    patch_voxels: Sequence[int],
    batch_size: int,
    device: torch.device,
    checkpointing: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Measurement:
    """Run the network on random patches.

    Args:
        spec: of the network.
        patch_voxels: size of a patch along each axis.
        batch_size: patches a training step; the forward pass alone takes one.
        device: where to run.
        checkpointing: with gradient checkpointing.
        dtype: of autocast; float32 goes without.

    Raises:
        torch.OutOfMemoryError: the device has too little memory.
    """
    with _freed(device):
        network: Any = build_plain(spec).to(device)
        if spec.family.recomputes:
            spec.family.set_checkpointing(network, checkpointing)
        images = torch.randn(batch_size, spec.in_channels, *patch_voxels, device=device)

        def autocast() -> AbstractContextManager[object]:
            mixed = dtype is not torch.float32
            return torch.autocast(device.type, dtype if mixed else None, enabled=mixed)

        def forward() -> None:
            with torch.no_grad(), autocast():
                network(images[:1])

        def step() -> None:
            network.zero_grad(set_to_none=True)
            with autocast():
                outputs = run_all_heads(network, images, spec)
            segmentation_loss(outputs).backward()  # type: ignore[no-untyped-call]

        return Measurement(
            repeat(forward, device), repeat(step, device), str(dtype).removeprefix("torch.")
        )


@contextmanager
def _freed(device: torch.device) -> Iterator[None]:
    """Begin and end without the memory of the network before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    yield


def repeat(work: Callable[[], object], device: torch.device) -> Repeated:
    """Do it once to warm up, then 10 times, or for 20 s."""
    gib = peak_gib(work, device)
    seconds: list[float] = []
    while len(seconds) < _REPEATS and sum(seconds) < _SECONDS:
        _synchronise(device)
        start = time.perf_counter()
        work()
        _synchronise(device)
        seconds.append(time.perf_counter() - start)
    return Repeated(statistics.median(seconds), _spread(seconds), gib)


def peak_gib(work: Callable[[], object], device: torch.device) -> float:
    """Peak of doing it once, which chooses algorithms and grows the heap."""
    with _peak(device) as peak:
        work()
    return peak[0] / GIB


def _spread(seconds: Sequence[float]) -> float:
    if len(seconds) == 1:
        return float("nan")
    lower, _, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return (upper - lower) / 2


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def _peak(device: torch.device) -> Iterator[list[int]]:
    """A list that holds the peak bytes once the block is left."""
    result = [0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield result
        torch.cuda.synchronize(device)
        result[0] = torch.cuda.max_memory_allocated(device)
    elif device.type == "mps":
        yield result
        result[0] = torch.mps.driver_allocated_memory()
    else:
        with _watched_process(result):
            yield result


@contextmanager
def _watched_process(result: list[int]) -> Iterator[None]:
    process = psutil.Process()
    before = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SECONDS_BETWEEN_SAMPLES):
            result[0] = max(result[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
