"""A training step on the CPU: our compiled kernels, our arrangement, PyTorch's own, in one run.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py

Each in float32 and under autocast to bfloat16. The ways take turns. Milliseconds are those of the
processor, so that other work counts little; with one thread they are those of a core.
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.mednext import blocks, cpu
from mednext_cli.networks.spec import describe_network
from mednext_cli.training.loss import SegmentationLoss

_PATCH, _BATCH, _CHANNELS = (32, 48, 32), 2, 16
_WARM_UP = 2
_WAYS = ("mednext", "without kernels", "pytorch")
_PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Time all ways alternately for each kernel, and write the medians."""
    parser = argparse.ArgumentParser(description="a training step on the CPU")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_step.csv"))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--kernels", type=int, nargs="+", default=[3, 5, 7])
    parser.add_argument("--precisions", nargs="+", default=list(_PRECISIONS), choices=_PRECISIONS)
    options = parser.parse_args()
    keep_freed_memory(large=True)  # as training does
    rows = [
        row
        for kernel in options.kernels
        for row in _compare(kernel, options.precisions, options.steps)
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        way = f"{row['operators']}, {row['precision']}"
        print(f"kernel {row['kernel']}, {way}: {row['median_ms']} ms")


def _compare(kernel: int, precisions: Sequence[str], steps: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    network = build_plain(describe_network("mednext", 1, 3, kernel=kernel, base_channels=_CHANNELS))
    network = network.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    images = torch.randn(_BATCH, 1, *_PATCH).to(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, 3, (_BATCH, *_PATCH))
    ours = cpu.is_arranged, blocks.library_of
    patches = dict(zip(_WAYS, (ours, (ours[0], _none), (_never, _none)), strict=True))
    ways = [(name, precision) for precision in precisions for name in _WAYS]
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    try:
        for number in range(steps + _WARM_UP):
            for name, precision in ways:
                cpu.is_arranged, blocks.library_of = patches[name]
                started = time.process_time()
                _step(network, optimiser, images, labels, precision)
                if number >= _WARM_UP:
                    seconds[name, precision].append(time.process_time() - started)
    finally:
        cpu.is_arranged, blocks.library_of = ours
    return [_row(kernel, *way, times) for way, times in seconds.items()]


def _never(_: Tensor) -> bool:
    return False


def _none(*_: object) -> None:
    """No library, as where nothing was compiled."""


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    precision: str,
) -> None:
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        outputs = network(images, deep_supervision=True)
    SegmentationLoss()(outputs, labels).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
    optimiser.step()


def _row(kernel: int, name: str, precision: str, seconds: list[float]) -> dict[str, object]:
    return {
        "network": "S",
        "kernel": kernel,
        "base_channels": _CHANNELS,
        "patch": "x".join(map(str, _PATCH)),
        "batch": _BATCH,
        "operators": name,
        "precision": precision,
        "median_ms": round(statistics.median(seconds) * 1000, 1),
        "fastest_ms": round(min(seconds) * 1000, 1),
        "steps": len(seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_instructions": "yes" if multiplies_bfloat16() else "no",
        "command": "OMP_NUM_THREADS=1 python benchmarks/training_step.py",
    }


if __name__ == "__main__":
    main()
