"""A tile on the CPU through each engine, and through PyTorch's own operators.

taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/engines.py   (needs the extra openvino)
"""

import argparse
import csv
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mednext_cli.inference.engine import EngineOptions, build_engine
from mednext_cli.inference.tiles import predict_tiles
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.spec import describe_network
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan

_ENGINES = ("torch", "openvino")
# The small patch of the hippocampus with the channels of the recipe cpu; the paper's at full width.
_TILES = (((32, 48, 32), 16), ((128, 128, 128), 32))


def main() -> None:
    """Time the engines alternately for each network and tile, and write the medians."""
    parser = argparse.ArgumentParser(description="a tile through each engine")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engines.csv"))
    parser.add_argument("--tiles", type=int, default=5)
    options = parser.parse_args()
    work = [(kernel, *one) for one in _TILES for kernel in (3, 5)]
    # First, since the engine torch changes how this process keeps its memory.
    stock = [_stock(*one, options.tiles) for one in work]
    rows = []
    for one, seconds in zip(work, stock, strict=True):
        rows += _rows(*one, {"pytorch": seconds, **_engines(*one, options.tiles)})
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _image(tile: tuple[int, ...]) -> Tensor:
    voxels = np.random.default_rng(0).normal(size=(1, 1, *tile)).astype(np.float32)
    return torch.from_numpy(voxels)


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _stock(kernel: int, tile: tuple[int, ...], channels: int, tiles: int) -> list[float]:
    """Seconds of PyTorch's own operators, channels-last."""
    network = build_plain(
        describe_network("mednext", 1, 3, kernel=kernel, base_channels=channels)
    ).eval()
    network = network.to(memory_format=torch.channels_last_3d)
    image = _image(tile).to(memory_format=torch.channels_last_3d)
    ours, cpu.is_arranged = cpu.is_arranged, lambda _: False
    try:
        with torch.inference_mode():
            network(image)
            return [_timed(lambda: network(image)) for _ in range(tiles)]
    finally:
        cpu.is_arranged = ours


@torch.inference_mode()
def _engines(
    kernel: int, tile: tuple[int, ...], channels: int, tiles: int
) -> dict[str, list[float]]:
    """Seconds of the engines, alternately; they must agree."""
    torch.manual_seed(0)
    arranged = describe_network("mednext", 1, 3, kernel=kernel, base_channels=channels)
    checkpoint = Checkpoint(arranged, build_plain(arranged).state_dict())
    plan = Plan(
        dataset="none", layout="msd", spacing_mm=(1, 1, 1), patch_voxels=(32, 48, 32),
        batch_size=1, channels=("MRI",), normalisation=(ChannelNormalisation(scheme="z_score"),),
        label_set=LabelSet({"a": 1, "b": 2}, {"a": (1,), "b": (2,)}),
    )  # fmt: skip
    images = _image(tile)
    options = EngineOptions(torch.device("cpu"))
    engines = {name: build_engine(name, checkpoint, plan, options) for name in _ENGINES}
    (first,), (second,) = (predict_tiles(engine, images, 3) for engine in engines.values())
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)
    seconds: dict[str, list[float]] = {name: [] for name in _ENGINES}
    for _ in range(tiles):
        for name, engine in engines.items():
            seconds[name].append(_timed(partial(predict_tiles, engine, images, 3)))
    return seconds


def _rows(
    kernel: int, tile: tuple[int, ...], channels: int, seconds: dict[str, list[float]]
) -> list[dict[str, object]]:
    rows = []
    for name, times in seconds.items():
        print(f"S k{kernel}, {channels} channels, {tile}, {name}: {statistics.median(times):.3f} s")
        rows.append(
            {
                "network": "S",
                "kernel": kernel,
                "base_channels": channels,
                "tile": "x".join(map(str, tile)),
                "engine": name,
                "median_s": round(statistics.median(times), 4),
                "fastest_s": round(min(times), 4),
                "cores": len(os.sched_getaffinity(0)),
                "machine": platform.processor() or platform.machine(),
                "torch": str(torch.__version__),
                "openvino": version("openvino"),
                "command": "taskset -c 0 env OMP_NUM_THREADS=1 python benchmarks/engines.py",
            }
        )
    return rows


if __name__ == "__main__":
    main()
