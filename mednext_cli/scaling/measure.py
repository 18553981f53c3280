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
from torch import Tensor, nn

from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.spec import NetworkSpec

_REPEATS = 10
_SECONDS = 20.0  # enough repeats for a median; large networks on CPUs get fewer
_SECONDS_BETWEEN_SAMPLES = 0.002


@dataclass(frozen=True)
class Measurement:
    """Median seconds and peak GiB; on CUDA of PyTorch's allocator, else of the process's growth.

    Attributes:
        forward_seconds: one patch, without gradients.
        forward_gib: peak of that.
        step_seconds: forward and backward of a batch, all outputs, without the optimiser.
        step_gib: peak of that.
        precision: number format of the convolutions.
    """

    forward_seconds: float
    forward_gib: float
    step_seconds: float
    step_gib: float
    precision: str


def measure_network(
    spec: NetworkSpec,
    patch_voxels: Sequence[int],
    batch_size: int,
    device: torch.device,
    checkpointing: bool = False,
) -> Measurement:
    """Run the network on random patches.

    Args:
        spec: of the network.
        patch_voxels: size of a patch along each axis.
        batch_size: patches a training step; the forward pass alone takes one.
        device: where to run; bfloat16 autocast on CUDA, float32 elsewhere.
        checkpointing: with gradient checkpointing.

    Raises:
        torch.OutOfMemoryError: the device has too little memory.
    """
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32
    with _freed(device):
        network: Any = build_plain(spec).to(device)
        spec.family.set_checkpointing(network, checkpointing)
        images = torch.randn(batch_size, spec.in_channels, *patch_voxels, device=device)

        def autocast() -> AbstractContextManager[object]:
            mixed = precision is not torch.float32
            return torch.autocast(device.type, precision if mixed else None, enabled=mixed)

        def forward() -> None:
            with torch.no_grad(), autocast():
                network(images[:1])

        def step() -> None:
            with autocast():
                outputs = run_all_heads(network, images, spec)
            _backward(network, outputs)

        forward_seconds, forward_gib = repeat(forward, device)
        step_seconds, step_gib = repeat(step, device)
    name = str(precision).removeprefix("torch.")
    return Measurement(forward_seconds, forward_gib, step_seconds, step_gib, name)


def _backward(network: nn.Module, outputs: Sequence[Tensor]) -> None:
    network.zero_grad(set_to_none=True)
    loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
    loss.backward()  # type: ignore[no-untyped-call]


@contextmanager
def _freed(device: torch.device) -> Iterator[None]:
    """Begin and end without the memory of the network before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    yield


def repeat(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Median seconds of up to 10 runs (or 20 s of them), and the peak GiB of one before them."""
    with _peak(device) as peak:
        work()  # the first run chooses algorithms and grows the heap
    seconds: list[float] = []
    while len(seconds) < _REPEATS and sum(seconds) < _SECONDS:
        _synchronise(device)
        start = time.perf_counter()
        work()
        _synchronise(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), peak[0] / GIB


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
