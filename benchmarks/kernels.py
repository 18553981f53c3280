"""The fused operators against the stock ones, on one NVIDIA GPU.

    python benchmarks/kernels.py [--out benchmarks/results/kernels.csv] [--quick] [--only PART ...]

Every row is checked against float64 (the network's against float32) before it is timed. Times are
medians of CUDA events over inputs that take turns and are together larger than the second level
cache. Beside each row stands the limit that the GPU's bandwidth and arithmetic set. MONAI's MedNeXt
is timed where it can be imported. Not run on a GPU yet.
"""

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import ceil, prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.mednext.kernels import depthwise_conv3d
from mednext_cli.networks.mednext.network import MedNeXt
from mednext_cli.networks.spec import describe_network

# TB/s of memory, TFLOP/s of bfloat16 products and of float32 arithmetic: vendors' data sheets.
_GPUS = {
    "H200": (4.8, 989.0, 67.0),
    "H100 PCIe": (2.0, 756.0, 51.0),
    "H100": (3.35, 989.0, 67.0),
    "A100-SXM4-80GB": (2.04, 312.0, 19.5),
    "A100": (1.56, 312.0, 19.5),
    "L40S": (0.864, 362.0, 91.6),
    "RTX 4090": (1.01, 165.0, 82.6),
    "RTX 3090": (0.936, 71.0, 35.6),
}
_SHAPES = ((2, 32, 128), (2, 64, 64), (2, 128, 32))
_COLUMNS = ("row", "way", "milliseconds", "peak_gib", "limit_ms", "error", "hours_1000_epochs")
_COLUMNS += ("gpu", "driver", "torch", "cuda", "cudnn", "triton")
_LAYOUTS = {
    "ours": torch.channels_last_3d,
    "stock channels-last": torch.channels_last_3d,
    "stock channels-first": torch.contiguous_format,
}
_STEPS_A_RUN = 250_000
_BOUND = 1e-2
Row = dict[str, Any]


def limit_ms(traffic: float, sums: float, products: float) -> float | None:
    """The least time for so many bytes, float32 operations and operations of matrix products."""
    name = torch.cuda.get_device_name()
    for key, (bandwidth, matrix, plain) in _GPUS.items():
        if key in name:
            seconds = max(traffic / bandwidth, sums / plain, products / matrix) / 1e12
            return seconds * 1e3
    return None


def median_ms(run: Callable[[int], object], repeats: int) -> tuple[float, float]:
    """Median time, and the peak of the memory, GiB."""
    for index in range(3):
        run(index)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for index in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run(index)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times), torch.cuda.max_memory_allocated() / 2**30


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative L2 distance."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def _copies(size: int) -> int:
    cache = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 64 * 2**20)
    return ceil(2 * cache / size) + 1


def depthwise_rows(repeats: int, kernel: int = 5) -> Iterator[Row]:
    """Forward and backward of the convolution, ours and stock in both layouts."""
    for batch, channels, side in _SHAPES:
        shape = (batch, channels, side, side, side)
        count = prod(shape)
        weight = torch.randn(channels, 1, kernel, kernel, kernel, device="cuda")
        images = [
            torch.randn(shape, device="cuda", dtype=torch.bfloat16)
            for _ in range(_copies(2 * count))
        ]
        name = f"depthwise k{kernel} ({batch}, {channels}, {side}^3)"
        sums = 2.0 * count * kernel**3
        limits = {
            "forward": limit_ms(4 * count, sums, 0),
            "backward": limit_ms(8 * count, 2 * sums, 0),
        }
        exact = _depthwise_results(images[0].double(), weight.double(), "stock")
        for way, layout in _LAYOUTS.items():
            given = [one.contiguous(memory_format=layout) for one in images]
            operators = "fused" if way == "ours" else "stock"
            found = _depthwise_results(given[0], weight, operators)
            error = max(distance(a, b) for a, b in zip(found, exact, strict=True))
            runs = _depthwise_runs(given, weight, operators)
            for part, run in runs.items():
                yield _row(f"{name} {part}", way, run, repeats, limits[part], error)
        del images, exact, given, found, runs
        torch.cuda.empty_cache()


def _depthwise_results(x: Tensor, weight: Tensor, operators: Any) -> list[Tensor]:  # noqa: ANN401
    x, weight = x.detach().requires_grad_(), weight.to(x.dtype).detach().requires_grad_()
    y = depthwise_conv3d(x, weight, operators=operators)
    y.backward(x.detach())
    return [y.detach(), x.grad, weight.grad]


def _depthwise_runs(
    images: list[Tensor],
    weight: Tensor,
    operators: Any,  # noqa: ANN401
) -> dict[str, Callable[[int], object]]:
    given = [one.requires_grad_() for one in images]
    weight = weight.to(given[0].dtype).requires_grad_()
    outputs = [depthwise_conv3d(one, weight, operators=operators) for one in given]

    def forward(index: int) -> object:
        with torch.no_grad():
            return depthwise_conv3d(given[index % len(given)], weight, operators=operators)

    def backward(index: int) -> object:
        one = index % len(given)
        slope = given[one].detach()
        return torch.autograd.grad(outputs[one], (given[one], weight), slope, retain_graph=True)

    return {"forward": forward, "backward": backward}


def _row(
    name: str,
    way: str,
    run: Callable[[int], object],
    repeats: int,
    limit: float | None,
    error: float | None,
) -> Row:
    if error is not None and not error < _BOUND:
        raise SystemExit(f"error: {name}, {way}: off by {error:.2g}; nothing more is timed")
    milliseconds, peak = median_ms(run, repeats)
    return {
        "row": name,
        "way": way,
        "milliseconds": milliseconds,
        "peak_gib": peak,
        "limit_ms": limit,
        "error": error,
        "hours_1000_epochs": milliseconds * _STEPS_A_RUN / 3.6e6
        if name.startswith("tra")
        else None,
    }


def block_rows(repeats: int) -> Iterator[Row]:
    """One block of L at full resolution, forward and backward."""
    count = 2 * 32 * 128**3
    # Forward: x, z twice, y; backward: recomputed inputs and gradients (2 bytes a value).
    limit = limit_ms(2 * 12 * count, 3 * 2 * 125 * count, 3 * 2 * 2 * 96 * count)
    block = (
        build_plain(describe_network("mednext", 1, 2, size="L", kernel=5))
        .cuda()
        .encoder[0]
        .blocks[0]
    )
    image = torch.randn(2, 32, 128, 128, 128, device="cuda", dtype=torch.bfloat16)
    exact = _block_result(block, image, "stock", torch.channels_last_3d)()
    for way, layout in _LAYOUTS.items():
        run = _block_result(block, image, "fused" if way == "ours" else "stock", layout)
        error = distance(run(), exact)
        yield _row("block L k5 forward + backward", way, run, repeats, limit, error)


def _block_result(
    block: Any,  # noqa: ANN401
    image: Tensor,
    operators: str,
    layout: torch.memory_format,
) -> Callable[..., Tensor]:
    x = image.contiguous(memory_format=layout).requires_grad_()

    def result(_: int = 0) -> Tensor:
        block.to(memory_format=layout)
        block.operators = operators
        x.grad = None
        with torch.autocast("cuda", torch.bfloat16):
            y = block(x)
        y.backward(torch.ones_like(y))
        return y.detach()

    return result


def _step(network: torch.nn.Module, x: Tensor) -> Callable[[int], object]:
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)

    def step(_: int) -> object:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            outputs = network(x, True) if isinstance(network, MedNeXt) else network(x)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        sum(one.float().square().mean() for one in outputs).backward()
        optimiser.step()
        return None

    return step


def network_rows(repeats: int) -> Iterator[Row]:
    """Training steps of all eight networks, and inference of L k5."""
    for size in "SBML":
        for kernel in (3, 5):
            for way, layout in _LAYOUTS.items():
                yield from _network_rows(repeats, size, kernel, way, layout)
                torch.cuda.empty_cache()


def _network_rows(
    repeats: int, size: str, kernel: int, way: str, layout: torch.memory_format
) -> Iterator[Row]:
    x = torch.randn(2, 1, 128, 128, 128, device="cuda").contiguous(memory_format=layout)
    network = (
        build_plain(describe_network("mednext", 1, 3, size=size, kernel=kernel))
        .cuda()
        .to(memory_format=layout)
    )
    is_ours, is_largest = way == "ours", (size, kernel) == ("L", 5)
    network.operators = "fused" if is_ours else "stock"
    network.checkpointing = not is_ours  # the published way
    name = f"training step {size} k{kernel} 128^3 batch 2"
    error = _network_error(network, x) if is_ours else None
    # The figures: 50 GB and 6.8 TFLOP.
    limit = limit_ms(50e9, 0, 6.8e12) if is_largest else None
    how = way if is_ours else f"{way}, checkpointing"
    yield _row(name, how, _step(network, x), repeats, limit, error)
    if is_largest:
        yield _row("inference L k5 128^3", way, _inference(network, x[:1]), repeats, None, None)


def _network_error(network: MedNeXt, x: Tensor) -> float:
    with torch.inference_mode():
        fused = network(x[:1, :, :64, :64, :64].contiguous())
        network.operators = "stock"
        stock = network(x[:1, :, :64, :64, :64].contiguous())
        network.operators = "fused"
    return distance(fused, stock)


def _inference(network: torch.nn.Module, x: Tensor) -> Callable[[int], object]:
    def run(_: int) -> object:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            return network(x)

    return run


def monai_rows(repeats: int) -> Iterator[Row]:
    """MONAI's MedNeXt-L with kernel 5, if MONAI is there."""
    try:
        from monai.networks.nets import create_mednext
    except ImportError:
        print("MONAI's MedNeXt cannot be imported: left out")
        return
    network = create_mednext("L", 3, 1, 3, kernel_size=5, deep_supervision=True).cuda()
    x = torch.randn(2, 1, 128, 128, 128, device="cuda")
    yield _row("training step L k5 128^3 batch 2", "MONAI", _step(network, x), repeats, None, None)
    run = _inference(network.eval(), x[:1])
    yield _row("inference L k5 128^3", "MONAI", run, repeats, None, None)


def _about() -> Row:
    import triton

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = ""
    if shutil.which(query[0]):
        driver = subprocess.run(query, capture_output=True, text=True).stdout.split("\n")[0]
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": driver,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": triton.__version__,
    }


def main() -> int:
    """Check, time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kernels.csv"))
    parser.add_argument("--quick", action="store_true", help="3 repeats instead of 20")
    parts = (depthwise_rows, block_rows, network_rows, monai_rows)
    by_name = {part.__name__.removesuffix("_rows"): part for part in parts}
    parser.add_argument("--only", nargs="+", choices=by_name, default=list(by_name))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: benchmarks/kernels.py needs an NVIDIA GPU; there is none.", file=sys.stderr)
        return 2
    repeats, about = (3 if options.quick else 20), _about()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for part in map(by_name.__getitem__, options.only):
            try:
                for row in part(repeats):
                    writer.writerow(row | about)
                    file.flush()
                    _print(row)
            except torch.OutOfMemoryError as error:
                print(f"{part.__name__}: out of memory: {error}", file=sys.stderr)
    return 0


def _print(row: Row) -> None:
    limit = "" if row["limit_ms"] is None else f"limit {row['limit_ms']:8.3f} ms"
    text = f"{row['row']:45} {row['way']:26} {row['milliseconds']:10.3f} ms "
    hours = row["hours_1000_epochs"]
    more = "" if hours is None else f"{hours:6.1f} h for 1,000 epochs"
    print(f"{text}{row['peak_gib']:7.2f} GiB {limit} {more}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
