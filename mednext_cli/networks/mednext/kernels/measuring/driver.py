"""What the driver says of a GPU beside what PyTorch tells, and why none could be measured there."""

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_FIELDS = ("driver_version", "power.limit", "compute_mode", "mig.mode.current")
_SECONDS = 10.0
_UNKNOWN = "unknown"
_MPS_PIPES = Path("/tmp/nvidia-mps")  # where NVIDIA's control daemon puts it


@dataclass(frozen=True)
class Driver:
    """The driver's answer; "unknown" is what it does not tell.

    Attributes:
        driver: its version.
        power_limit_watts: the board's.
        compute_mode: whether several processes may use it.
        mig: whether the GPU is cut into instances.
        processes: ids of those that compute on it, in this container's numbering or the host's.
    """

    driver: str = _UNKNOWN
    power_limit_watts: str = _UNKNOWN
    compute_mode: str = _UNKNOWN
    mig: str = _UNKNOWN
    processes: tuple[int, ...] = ()


Ask = Callable[[list[str]], str]


def _run(arguments: list[str]) -> str:
    """What nvidia-smi prints; "" where it cannot be run."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        return subprocess.run(
            [tool, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def ask_driver(device: torch.device, ask: Ask = _run) -> Driver:
    """Ask nvidia-smi.

    Args:
        device: a CUDA device.
        ask: runs nvidia-smi with these arguments.
    """
    where = ["--format=csv,noheader,nounits", "-i", _identity(device)]
    values = [text.strip() for text in ask([f"--query-gpu={','.join(_FIELDS)}", *where]).split(",")]
    if len(values) != len(_FIELDS):
        return Driver()
    driver, power, mode, mig = values
    processes = ask(["--query-compute-apps=pid", *where]).split()
    return Driver(driver, power, mode, mig, tuple(int(one) for one in processes if one.isdigit()))


def _identity(device: torch.device) -> str:
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def why_not(device: torch.device) -> str:
    """Why nothing can be measured here; "" where it can."""
    if multiprocessing.current_process().daemon:
        return "a worker process cannot begin another one"
    if device.type != "cuda":
        return ""
    return obstacle(torch.cuda.get_device_name(device), ask_driver(device))


def obstacle(name: str, answer: Driver) -> str:
    """What would spoil timings on a GPU; "" where nothing would.

    Args:
        name: of the GPU.
        answer: of its driver.
    """
    if "MIG" in name or answer.mig == "Enabled":
        return "the GPU is cut into instances (MIG)"
    if "CUDA_MPS_PIPE_DIRECTORY" in os.environ or _MPS_PIPES.exists():
        return "processes share the GPU (MPS)"
    others = set(answer.processes) - {os.getpid()}
    if others:
        return f"{len(others)} other processes compute on the GPU"
    return ""
