"""Whether the fused operators can run, and who wants them."""

import os
from importlib.util import find_spec
from typing import Literal

import torch

from mednext_cli.foundation.errors import SettingsError

Kernels = Literal["auto", "fused", "stock"]
CHOICES: tuple[Kernels, ...] = ("auto", "fused", "stock")
SIZES = (3, 5, 7)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_OLDEST_CAPABILITY = (8, 0)


def has_triton() -> bool:
    """Whether Triton is installed; it is not imported."""
    return find_spec("triton") is not None


def is_interpreted() -> bool:
    """Whether Triton runs its kernels on the CPU, for tests (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def can_run(device: torch.device) -> bool:
    """Whether Triton's kernels run on this device: an NVIDIA GPU from Ampere on, or interpreted."""
    if not has_triton():
        return False
    if is_interpreted():
        return device.type in ("cpu", "cuda")
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= _OLDEST_CAPABILITY


def is_wanted(kernels: Kernels, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a tensor on this device takes the fused operators.

    `auto` never takes them on a CPU, where only the interpreter could run them.

    Raises:
        SettingsError: "fused" where they cannot run.
    """
    if kernels == "stock":
        return False
    if kernels == "auto":
        return device.type == "cuda" and dtype in DTYPES and can_run(device)
    check(kernels, device)
    return True


def as_choice(kernels: str) -> Kernels:
    """A user's word as one of the choices; raises `SettingsError` for any other."""
    for choice in CHOICES:
        if kernels == choice:
            return choice
    raise SettingsError(f"unknown kernels {kernels!r}", f"Give {', '.join(CHOICES)}.")


def check(kernels: Kernels, device: torch.device) -> None:
    """Raise `SettingsError` unless this choice can run on this device."""
    if kernels != "fused" or can_run(device):
        return
    if not has_triton():
        raise SettingsError(
            "kernels = fused needs Triton, which is not installed",
            "pip install 'mednext[kernels]', or take kernels = auto.",
        )
    raise SettingsError(
        f"kernels = fused needs an NVIDIA GPU (Ampere or later), not {device}",
        "Take kernels = auto, which uses the fused operators where they run.",
    )
