"""What the rows of `kernels.py` have in common: place, columns, accuracy, times, limits."""

import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mednext_cli.networks.mednext.kernels.availability import has_triton
from mednext_cli.networks.mednext.kernels.measuring.benches import CpuBench, CudaBench
from mednext_cli.networks.mednext.kernels.measuring.clocks import Clocks
from mednext_cli.networks.mednext.kernels.measuring.timing import (
    Bench,
    Timed,
    Work,
    time_in_turns,
)

COLUMNS = (
    *("row", "way", "milliseconds", "spread_ms", "limit_ms", "peak_gib", "captured"),
    *("error", "error_of", "times_stock_error", "refused"),
    *("hours_1000_epochs", "published_a100_hours"),
    *("sm_mhz", "memory_mhz", "celsius", "watts"),
    *("device", "driver", "torch", "cuda", "cudnn", "triton", "tiny"),
)
DTYPE = torch.bfloat16
MOST_TIMES_STOCK = 2.0
_ROUNDING = 2.0**-8  # of one value in bfloat16: an error below it is none
_NOISE = (
    0.5  # stock is off by more where a gradient is zero by arithmetic, as a bias's before a norm
)
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
Row = dict[str, Any]
Results = Mapping[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Where is measured, and how thoroughly.

    Attributes:
        device: of all rows.
        tiny: sizes that show only that the script works.
        rounds: of candidates in turns.
        seconds: that the rounds of one row may take.
        networks: names of those whose training steps are timed; all if there are none.
        operators: with which steps are timed, "fused" or "stock"; both if it is "".
    """

    device: torch.device
    tiny: bool
    rounds: int
    seconds: float
    networks: tuple[str, ...] = ()
    operators: str = ""

    def bench(self, as_launched: bool = False) -> Bench:
        """As `CudaBench` on a GPU."""
        if self.device.type == "cuda":
            return CudaBench(self.device, as_launched)
        return CpuBench(cache_bytes=2**20 if self.tiny else None)

    def autocast(self, mixed: bool = True) -> AbstractContextManager[object]:
        """As in training on a GPU, or float32."""
        return torch.autocast(self.device.type, DTYPE, enabled=mixed)

    def peak_gib(self) -> float | None:
        """Of what PyTorch held at once since the peak was last counted anew."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device) / 2**30

    def free(self) -> None:
        """Give back what earlier rows left, and count the peak anew."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)


@dataclass(frozen=True)
class Accuracy:
    """How far results are from float32.

    Attributes:
        error: largest relative L2 distance of an output or gradient.
        error_of: which one.
        times_stock: largest quotient by stock's own error, which counts as no less than the
            rounding of one value; gradients that are zero by arithmetic are left out.
    """

    error: float
    error_of: str
    times_stock: float

    @property
    def is_refused(self) -> bool:
        """Whether it is too far off to be timed; NaN is."""
        return not self.times_stock <= MOST_TIMES_STOCK


def distances(found: Results, exact: Results) -> dict[str, float]:
    """Relative L2 distance of each."""
    return {name: _distance(found[name], exact[name]) for name in exact}


def _distance(found: Tensor, exact: Tensor) -> float:
    off = torch.linalg.vector_norm(found.float() - exact.float(), dtype=torch.float64)
    return float(off / torch.linalg.vector_norm(exact, dtype=torch.float64))


def judge(errors: Mapping[str, float], stock: Mapping[str, float]) -> Accuracy:
    """Of `distances`, beside those of stock PyTorch in the same precision."""
    judged = {name: error for name, error in errors.items() if not stock[name] > _NOISE}
    # NaN is larger than everything: what is not a number must not hide behind one.
    worst = max(judged, key=lambda name: (judged[name] != judged[name], judged[name]))
    quotients = [error / max(stock[name], _ROUNDING) for name, error in judged.items()]
    times = max(quotients, key=lambda quotient: (quotient != quotient, quotient))
    return Accuracy(judged[worst], worst, times)


def timed_rows(
    place: Place,
    row: str,
    works: Mapping[str, Work],
    accuracies: Mapping[str, Accuracy],
    limit_ms: float | None = None,
    as_launched: bool = False,
) -> Iterator[Row]:
    """Time those that are right, in turns; a row each, without a time for those that are not."""
    right = {
        name: work
        for name, work in works.items()
        if name not in accuracies or not accuracies[name].is_refused
    }
    timings = time_in_turns(
        right, place.bench(as_launched), rounds=place.rounds, seconds=place.seconds
    )
    for name in works:
        yield {
            "row": row,
            "way": name,
            "limit_ms": limit_ms,
            **_accuracy_cells(accuracies.get(name)),
            **_time_cells(timings.timed.get(name), timings.clocks),
        }


def _accuracy_cells(accuracy: Accuracy | None) -> Row:
    if accuracy is None:
        return {}
    return {
        "error": accuracy.error,
        "error_of": accuracy.error_of,
        "times_stock_error": accuracy.times_stock,
        "refused": accuracy.is_refused,
    }


def _time_cells(timed: Timed | None, clocks: Clocks | None) -> Row:
    if timed is None:
        return {}
    return {
        "milliseconds": timed.milliseconds,
        "spread_ms": timed.spread,
        "peak_gib": None if timed.peak_bytes is None else timed.peak_bytes / 2**30,
        "captured": timed.captured,
        **({} if clocks is None else vars(clocks)),
    }


def limit_ms(place: Place, traffic: float, sums: float, products: float) -> float | None:
    """The least time for so many bytes, float32 operations and operations of matrix products."""
    if place.device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(place.device)
    for key, (bandwidth, matrix, plain) in _GPUS.items():
        if key in name:
            return max(traffic / bandwidth, sums / plain, products / matrix) / 1e9
    return None


def about(place: Place) -> Row:
    """Device and versions, as in every row."""
    cuda = place.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(place.device) if cuda else platform.processor(),
        "driver": _driver() if cuda else "",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": _triton(),
        "tiny": place.tiny,
    }


def _triton() -> str:
    if not has_triton():
        return ""
    import triton

    return str(triton.__version__)


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return ""
    return subprocess.run(query, capture_output=True, text=True).stdout.partition("\n")[0]
