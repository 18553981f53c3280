"""A training step on the CPU: our compiled kernels, our arrangement, PyTorch's own and MONAI's.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py   (needs the extra baselines)

Each in float32 and under autocast to bfloat16; all ways take turns. Milliseconds are those of the
processor, so that other work counts little; with one thread they are those of a core. The floor is
measured between the steps: three forward passes' arithmetic at the best rate of oneDNN's 1x1x1
convolutions here, and fifteen passes over each block's tensors at the rate of a copy, in float32.
"""

import argparse
import csv
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.mednext import blocks, cpu
from mednext_cli.networks.mednext.network import MedNeXt
from mednext_cli.networks.spec import NetworkSpec, describe_network
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.training.loss import SegmentationLoss

_PATCH, _BATCH, _CHANNELS = (32, 48, 32), 2, 16
_WARM_UP = 2
_WAYS = ("mednext", "without kernels", "pytorch", "monai")
_PASSES = 15  # over a block's tensors at least: forward 5, backward 10
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
        print(f"kernel {row['kernel']}, {way}: {row['median_ms']} ms, {row['times_floor']} x floor")


def _compare(kernel: int, precisions: Sequence[str], steps: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    spec = describe_network("mednext", 1, 3, kernel=kernel, base_channels=_CHANNELS)
    ours = build_plain(spec).to(memory_format=torch.channels_last_3d)
    networks = dict.fromkeys(_WAYS, ours) | {"monai": _monais(kernel)}
    optimisers = {
        name: torch.optim.AdamW(networks[name].parameters(), fused=True)
        for name in ("mednext", "monai")
    }
    images = torch.randn(_BATCH, 1, *_PATCH).to(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, 3, (_BATCH, *_PATCH))
    kept = cpu.is_arranged, blocks.library_of
    patches = dict.fromkeys(_WAYS, (_never, _none)) | {
        "mednext": kept,
        "without kernels": (kept[0], _none),
    }
    ways = [(name, precision) for precision in precisions for name in _WAYS]
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    floors = []
    try:
        for number in range(steps + _WARM_UP):
            for name, precision in ways:
                cpu.is_arranged, blocks.library_of = patches[name]
                optimiser = optimisers.get(name, optimisers["mednext"])
                image = images.contiguous() if name == "monai" else images
                started = time.process_time()
                _step(networks[name], optimiser, image, labels, precision)
                if number >= _WARM_UP:
                    seconds[name, precision].append(time.process_time() - started)
            floors.append(_floor(spec, ours))
    finally:
        cpu.is_arranged, blocks.library_of = kept
    return [_row(kernel, *way, times, min(floors)) for way, times in seconds.items()]


def _monais(kernel: int) -> nn.Module:
    """MONAI's, in the memory format that it comes in."""
    from monai.networks.nets.mednext import MedNeXt

    network: nn.Module = MedNeXt(
        init_filters=_CHANNELS,
        out_channels=3,
        kernel_size=kernel,
        deep_supervision=True,
        use_residual_connection=True,
    )
    return network


def _floor(spec: NetworkSpec, network: nn.Module) -> float:
    """Seconds of a step's arithmetic and passes over memory, at this moment's speed."""
    operations = 2 * 3 * count_complexity(spec, _PATCH).multiply_adds * _BATCH
    values = []
    hooks = [
        module.register_forward_hook(
            lambda _, given, result: values.append((given[0].numel() + result.numel()) / 2)
        )
        for module in network.modules()
        if isinstance(module, blocks.MedNeXtBlock)
    ]
    with torch.no_grad():
        network(torch.zeros(_BATCH, 1, *_PATCH))
    for hook in hooks:
        hook.remove()
    return operations / _products_a_second() + _PASSES * 4 * sum(values) / _bytes_a_second()


def _products_a_second() -> float:
    """The best operations a second of oneDNN's products, of the widths that this network has."""
    rates = []
    for channels in (_CHANNELS, 2 * _CHANNELS, 4 * _CHANNELS):
        image = torch.randn(32, channels, 16, 16).to(memory_format=torch.channels_last)
        weight = torch.randn(2 * channels, channels, 1, 1)
        operations = 2 * image.numel() * 2 * channels
        rates.append(operations / _fastest(lambda x=image, w=weight: F.conv2d(x, w)))
    return max(rates)


def _bytes_a_second() -> float:
    """Read and written by a copy of a tensor as large as the largest here."""
    source = torch.randn(_BATCH, _CHANNELS, *_PATCH)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / _fastest(lambda: target.copy_(source))


def _fastest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(20):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


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
        ours = isinstance(network, MedNeXt)
        outputs = network(images, deep_supervision=True) if ours else network(images)
    SegmentationLoss()(outputs, labels).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
    optimiser.step()


def _row(
    kernel: int, name: str, precision: str, seconds: list[float], floor: float
) -> dict[str, object]:
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
        "floor_ms": round(floor * 1000, 1),
        "times_floor": round(statistics.median(seconds) / floor, 2),
        "fastest_times_floor": round(min(seconds) / floor, 2),
        "steps": len(seconds),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "monai": version("monai"),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_instructions": "yes" if multiplies_bfloat16() else "no",
        "command": shlex.join(["python", "benchmarks/training_step.py", *sys.argv[1:]]),
    }


if __name__ == "__main__":
    main()
