"""What devices can do at most, by their makers' data sheets; and what this machine's CPU does."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.foundation.machine import GIB

_EDGE, _COPIED = 512, 2**26  # of a product of matrices, and bytes: beyond any cache
_TRIES = 3


@dataclass(frozen=True)
class DeviceSheet:
    """A device's peaks.

    Attributes:
        name: as `--device-sheet` takes it.
        title: of the device, in full.
        device_type: "cuda" or "cpu".
        plain: TFLOP/s of float32 outside the units for products of matrices.
        dense_float32: TFLOP/s of convolutions and products of matrices in float32 (on NVIDIA GPUs
            TF32, which PyTorch takes for convolutions unless told otherwise).
        dense_half: the same in bfloat16 and float16, summed in float32, without sparsity.
        gigabytes_per_second: of its memory, 10^9 bytes.
        memory_gib: it has.
    """

    name: str
    title: str
    device_type: str
    plain: float
    dense_float32: float
    dense_half: float
    gigabytes_per_second: float
    memory_gib: float

    @property
    def training_dtype(self) -> torch.dtype:
        """What `precision = "auto"` trains in there."""
        return torch.float32 if self.device_type == "cpu" else torch.bfloat16


# NVIDIA's data sheets: H100 (SXM5), A100 (PCIe, 40 GB), Ada architecture whitepaper (RTX 4090).
_GPUS = (
    DeviceSheet("h100", "NVIDIA H100 SXM 80 GB", "cuda", 67.0, 494.0, 989.0, 3350.0, 80.0),
    DeviceSheet("a100", "NVIDIA A100 PCIe 40 GB", "cuda", 19.5, 156.0, 312.0, 1555.0, 40.0),
    DeviceSheet("rtx4090", "NVIDIA GeForce RTX 4090", "cuda", 82.6, 82.6, 165.2, 1008.0, 24.0),
)
SHEETS = {sheet.name: sheet for sheet in _GPUS}
NAMES = [*SHEETS, "cpu"]


def find_sheet(name: str) -> DeviceSheet:
    """The sheet of that name; that of the CPU is measured here, in a second.

    Raises:
        SettingsError: there is none.
    """
    if name == "cpu":
        return _this_cpu()
    if name not in SHEETS:
        raise SettingsError(f"there is no device sheet {name!r}", nearest(name, NAMES))
    return SHEETS[name]


def _this_cpu() -> DeviceSheet:
    dense, half = (_products(dtype) for dtype in (torch.float32, torch.bfloat16))
    threads = torch.get_num_threads()
    return DeviceSheet(
        name="cpu",
        title=f"this machine's CPU, {threads} thread{'s' if threads > 1 else ''}, as measured",
        device_type="cpu",
        plain=dense,
        dense_float32=dense,
        dense_half=half,
        gigabytes_per_second=_bandwidth(),
        memory_gib=psutil.virtual_memory().total / GIB,
    )


def _products(dtype: torch.dtype) -> float:
    """TFLOP/s."""
    one, other = (torch.ones(_EDGE, _EDGE, dtype=dtype) for _ in range(2))
    return 2 * _EDGE**3 / _fastest(lambda: one @ other) / 1e12


def _bandwidth() -> float:
    """10^9 bytes a second, of copying: each is read and written."""
    source = torch.ones(_COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * _COPIED / _fastest(lambda: target.copy_(source)) / 1e9


def _fastest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_TRIES + 1):  # the first one warms up, and is never the fastest
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
