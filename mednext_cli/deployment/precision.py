"""Which number formats a device computes in."""

from pathlib import Path
from typing import cast

import torch

from mednext_cli.foundation.devices import pick_dtype
from mednext_cli.foundation.processor import CPU_INFO, processor_lines
from mednext_cli.settings.sections import Precision

_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86, and of ARM


def resolve_precision(name: Precision, device: torch.device) -> Precision:
    """What "auto" stands for on a device; other names stay, whether they work there or not."""
    if name != "auto":
        return name
    return cast("Precision", str(pick_dtype(name, device)).removeprefix("torch."))


def missing_precision(name: Precision, device: torch.device) -> str:
    """Why a format is not worth measuring on a device; empty where it is.

    Imitated bfloat16 takes longer than float32.
    """
    if name == "bfloat16" and not _has_bfloat16(device):
        return f"this {device.type.upper()} has no arithmetic for bfloat16"
    return ""


def _has_bfloat16(device: torch.device, cpu_info: Path = CPU_INFO) -> bool:
    """Whether the hardware has it; assumed of CPUs that do not say what they have."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    words = [word for line in processor_lines(cpu_info) for word in line.split()]
    return not words or not _FLAGS.isdisjoint(words)
