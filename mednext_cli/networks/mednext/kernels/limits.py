"""What a GPU allows a kernel: its own answer, or a data sheet's where no GPU is at hand."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

# Of which the interpreter takes the tiles.
_INTERPRETED = 90


@dataclass(frozen=True)
class DeviceLimits:
    """Limits of a device.

    Attributes:
        shared_memory: bytes that a program may ask for (`shared_memory_per_block_optin`).
        multiprocessors: of the device.
        registers: of a multiprocessor, 32 bits each.
    """

    shared_memory: int
    multiprocessors: int
    registers: int = 65_536


# By compute capability, with the multiprocessors of the GPU named. Source: CUDA C++ Programming
# Guide, "Technical Specifications per Compute Capability".
LIMITS = {
    80: DeviceLimits(166_912, 108),  # A100
    86: DeviceLimits(101_376, 84),  # RTX A6000
    89: DeviceLimits(101_376, 128),  # RTX 4090
    90: DeviceLimits(232_448, 132),  # H100
    100: DeviceLimits(232_448, 148),  # B200
    120: DeviceLimits(101_376, 170),  # RTX 5090
}


def limits_of(device: torch.device) -> DeviceLimits:
    """Limits of the GPU `device`; on a CPU, where Triton is interpreted, those of an H100."""
    if device.type != "cuda":
        return LIMITS[_INTERPRETED]
    return _asked(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _asked(index: int) -> DeviceLimits:
    found: Any = torch.cuda.get_device_properties(index)  # torch's stubs lack two of them
    return DeviceLimits(
        found.shared_memory_per_block_optin,
        found.multi_processor_count,
        found.regs_per_multiprocessor,
    )
