"""A training step on the CPU: our compiled kernels, our arrangement, PyTorch's own, in one run.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py

The ways take turns. Milliseconds are those of the processor, so that other work counts little; with
one thread they are those of a core.
"""

import argparse
import csv
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.mednext import blocks, cpu
from mednext_cli.networks.spec import describe_network
from mednext_cli.training.loss import SegmentationLoss

_PATCH, _BATCH, _CHANNELS = (32, 48, 32), 2, 16
_WARM_UP = 2


def main() -> None:
    """Time all ways alternately for each kernel, and write the medians."""
    parser = argparse.ArgumentParser(description="a training step on the CPU")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_step.csv"))
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    keep_freed_memory(large=True)  # as training does
    rows = [row for kernel in (3, 5, 7) for row in _compare(kernel, options.steps)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(f"kernel {row['kernel']}, {row['operators']}: {row['median_ms']} ms")


def _compare(kernel: int, steps: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    network = build_plain(describe_network("mednext", 1, 3, kernel=kernel, base_channels=_CHANNELS))
    network = network.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    images = torch.randn(_BATCH, 1, *_PATCH).to(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, 3, (_BATCH, *_PATCH))
    ours = cpu.is_arranged, blocks.library_of
    ways = {"mednext": ours, "without kernels": (ours[0], _none), "pytorch": (_never, _none)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for number in range(steps + _WARM_UP):
            for name, way in ways.items():
                cpu.is_arranged, blocks.library_of = way
                started = time.process_time()
                _step(network, optimiser, images, labels)
                if number >= _WARM_UP:
                    seconds[name].append(time.process_time() - started)
    finally:
        cpu.is_arranged, blocks.library_of = ours
    return [_row(kernel, name, times) for name, times in seconds.items()]


def _never(_: torch.Tensor) -> bool:
    return False


def _none(*_: object) -> None:
    """No library, as where nothing was compiled."""


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    optimiser.zero_grad(set_to_none=True)
    SegmentationLoss()(network(images, deep_supervision=True), labels).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
    optimiser.step()


def _row(kernel: int, name: str, seconds: list[float]) -> dict[str, object]:
    return {
        "network": "S",
        "kernel": kernel,
        "base_channels": _CHANNELS,
        "patch": "x".join(map(str, _PATCH)),
        "batch": _BATCH,
        "operators": name,
        "median_ms": round(statistics.median(seconds) * 1000, 1),
        "fastest_ms": round(min(seconds) * 1000, 1),
        "steps": len(seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "command": "OMP_NUM_THREADS=1 python benchmarks/training_step.py",
    }


if __name__ == "__main__":
    main()
