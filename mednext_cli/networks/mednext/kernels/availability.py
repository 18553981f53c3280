"""Whether the fused operators can run, and who wants them."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import TypeVar, get_args

import torch
from torch import Tensor

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.pretending import current_pretence
from mednext_cli.settings.sections import Operators

CHOICES: tuple[Operators, ...] = get_args(Operators)
SIZES = (3, 5, 7)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_OLDEST_CAPABILITY = (8, 0)


Answer = TypeVar("Answer", bound=Callable[[torch.device], bool])


def _constant_when_compiled(function: Answer) -> Answer:
    # As torch.compiler.assume_constant_result, which would import the whole compiler (1.2 s).
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def has_triton() -> bool:
    """Whether Triton is installed; it is not imported."""
    return find_spec("triton") is not None


def is_interpreted() -> bool:
    """Whether Triton runs its kernels on the CPU, for tests (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@_constant_when_compiled
def can_run(device: torch.device) -> bool:
    """Whether Triton's kernels run on this device: an NVIDIA GPU from Ampere on, or interpreted."""
    if device.type == "meta":
        pretence = current_pretence()
        return pretence is not None and pretence.fused
    if not has_triton():
        return False
    if is_interpreted():
        return device.type in ("cpu", "cuda")
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= _OLDEST_CAPABILITY


def is_computed(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the kernels compute in this type; float64 is the interpreter's alone, for tests."""
    return dtype in DTYPES or (dtype is torch.float64 and device.type == "cpu")


def is_wanted(operators: Operators, device: torch.device) -> bool:
    """Whether a tensor on this device takes the fused operators, whatever was measured.

    Raises:
        SettingsError: "fused" where they cannot run.
    """
    check(operators, device)
    return operators == "fused"


def device_of(x: Tensor) -> AbstractContextManager[object]:
    """Kernels launched within go to this tensor's GPU; Triton takes the current one by itself."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def check(operators: Operators, device: torch.device) -> None:
    """Raise `SettingsError` unless this choice can run on this device."""
    if operators != "fused" or can_run(device):
        return
    if not has_triton():
        raise SettingsError(
            "operators = fused needs Triton, which is not installed",
            "pip install 'mednext[kernels]', or take operators = auto.",
        )
    raise SettingsError(
        f"operators = fused needs an NVIDIA GPU (Ampere or later), not {device}",
        "Take operators = auto.",
    )
