"""A whole case on one core: ours against MONAI's MedNeXt with its sliding window, same weights.

    env OMP_NUM_THREADS=1 python benchmarks/predict.py   (needs the extra baselines)

Each contender lives in a process of its own, since ours changes how its process keeps memory, and
all take turns. Seconds are those of the processor, so that other work counts little. MONAI's is
given our importance map and runs in both memory formats. ``--precision bfloat16`` is all of them
under autocast.
"""

import argparse
import csv
import multiprocessing
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CASE, _PATCH, _CLASSES, _OVERLAP = 96, 64, 3, 0.5
_MONAI = {"monai": torch.contiguous_format, "monai_channels_last": torch.channels_last_3d}
_OURS = ("mednext", "mednext_without_kernels")


def main() -> None:
    """Let all contenders predict in turns for each kernel, and write the medians."""
    parser = argparse.ArgumentParser(description="a whole case, ours and MONAI's")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/predict.csv"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernels", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    rows = [
        row
        for kernel in options.kernels
        for row in _compare(kernel, options.precision, options.rounds)
    ]
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _compare(kernel: int, precision: str, rounds: int) -> list[dict[str, object]]:
    context = multiprocessing.get_context("spawn")
    contenders: dict[str, Connection] = {}
    for name in (*_OURS, *_MONAI):
        contenders[name], theirs = context.Pipe()
        given = (theirs, name, kernel, precision)
        context.Process(target=_contend, args=given, daemon=True).start()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    labels: dict[str, NDArray[np.uint8]] = {}
    for _ in range(1 + rounds):  # the first to warm up
        for name, connection in contenders.items():
            connection.send(True)
            taken, labels[name] = connection.recv()
            seconds[name].append(taken)
    for connection in contenders.values():
        connection.send(False)
    best = min(statistics.median(seconds[name][1:]) for name in _MONAI)
    rows = [
        {**_row(kernel, name, seconds[name][1:], best, labels), "precision": precision}
        for name in contenders
    ]
    for row in rows:
        print(f"S k{kernel}, {row['contender']}: {row['median_s']} s, {row['times_monai']} x MONAI")
    return rows


def _row(
    kernel: int, name: str, seconds: list[float], best: float, labels: dict[str, NDArray[np.uint8]]
) -> dict[str, object]:
    return {
        "network": "S",
        "kernel": kernel,
        "case": _CASE,
        "patch": _PATCH,
        "contender": name,
        "median_s": round(statistics.median(seconds), 3),
        "fastest_s": round(min(seconds), 3),
        "times_monai": round(best / statistics.median(seconds), 2),
        "labels_equal": round(float((labels[name] == labels["monai"]).mean()), 6),
        "threads": 1,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.processor() or platform.machine(),
        "torch": str(torch.__version__),
        "monai": version("monai"),
        "command": shlex.join(["python", "benchmarks/predict.py", *sys.argv[1:]]),
    }


def _contend(connection: Connection, name: str, kernel: int, precision: str) -> None:
    torch.set_num_threads(1)
    image = np.random.default_rng(0).normal(size=(1, _CASE, _CASE, _CASE)).astype(np.float32)
    predict = _monais(kernel, name) if name in _MONAI else _ours(kernel, name)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    while connection.recv():
        begin = time.process_time()
        with half:
            found = predict(image)
        connection.send((time.process_time() - begin, found))


def _network(kernel: int) -> Any:  # noqa: ANN401 - a module of ours
    from mednext_cli.networks.building import build_plain
    from mednext_cli.networks.spec import describe_network

    torch.manual_seed(0)
    spec = describe_network("mednext", 1, _CLASSES, deep_supervision=False, kernel=kernel)
    return spec, build_plain(spec).eval()


def _ours(kernel: int, name: str) -> Callable[[NDArray[np.float32]], NDArray[np.uint8]]:
    from mednext_cli.foundation.memory import keep_freed_memory
    from mednext_cli.inference.sliding import predict_probabilities
    from mednext_cli.networks.mednext import blocks

    keep_freed_memory(large=True)  # as the engine torch does
    network = _network(kernel)[1].to(memory_format=torch.channels_last_3d)
    if name == "mednext_without_kernels":
        blocks.library_of = lambda *_: None  # type: ignore[assignment]  # as where nothing was compiled

    def call(tiles: Tensor) -> Tensor:
        made: Tensor = network(tiles.to(memory_format=torch.channels_last_3d)).float().softmax(1)
        return made

    def predict(image: NDArray[np.float32]) -> NDArray[np.uint8]:
        found = predict_probabilities(call, image, (_PATCH,) * 3, overlap=_OVERLAP)
        return found.argmax(0).astype(np.uint8)

    return predict


def _monais(kernel: int, name: str) -> Callable[[NDArray[np.float32]], NDArray[np.uint8]]:
    from monai.inferers.utils import sliding_window_inference
    from monai.networks.nets.mednext import create_mednext

    from mednext_cli.inference.tiling import gaussian_importance
    from mednext_cli.networks.mednext.official import to_official

    spec, ours = _network(kernel)
    weights = {_monai_name(key): value for key, value in
               to_official(spec.settings, ours.state_dict()).items()}  # fmt: skip
    network = create_mednext("S", 3, 1, _CLASSES, kernel, False)
    network.load_state_dict({key: weights[key] for key in network.state_dict()})
    network = network.eval().to(memory_format=_MONAI[name])
    importance = torch.from_numpy(gaussian_importance((_PATCH,) * 3))

    @torch.inference_mode()
    def predict(image: NDArray[np.float32]) -> NDArray[np.uint8]:
        found = sliding_window_inference(
            torch.from_numpy(image)[None].contiguous(memory_format=_MONAI[name]),
            (_PATCH,) * 3, 1, lambda tiles: network(tiles).float().softmax(1), overlap=_OVERLAP,
            roi_weight_map=importance,
        )  # fmt: skip
        assert isinstance(found, Tensor)  # noqa: S101 - one output gives one
        return found[0].argmax(0).numpy().astype(np.uint8)

    return predict


def _monai_name(name: str) -> str:
    """MONAI counts the decoder's levels from the deepest; else it says stages for block."""
    name = re.sub(r"^dec_block_(\d)", lambda found: f"dec_stages.{3 - int(found[1])}", name)
    name = re.sub(r"^up_(\d)", lambda found: f"up_blocks.{3 - int(found[1])}", name)
    name = re.sub(r"^enc_block_(\d)", r"enc_stages.\1", name)
    return re.sub(r"^down_(\d)", r"down_blocks.\1", name)


if __name__ == "__main__":
    main()
