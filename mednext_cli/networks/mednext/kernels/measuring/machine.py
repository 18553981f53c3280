"""On what something was measured: all that decides whether it would be measured alike again."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mednext_cli.foundation.processor import processor_lines
from mednext_cli.networks.mednext.kernels.measuring.driver import ask_driver

_KERNELS = Path(__file__).parents[1]
_SOURCES = (".py", ".c", ".cu", ".cuh", ".h")

Facts = dict[str, str]


def device_name(device: torch.device) -> str:
    """Of a GPU its name, else the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def describe_device(device: torch.device) -> Facts:
    """The device and all that computes on it, by name."""
    facts = _gpu(device) if device.type == "cuda" else _cpu()
    versions = {
        "torch": str(torch.__version__),
        "triton": _version("triton"),
        "kernels": hash_kernels(),
        "deterministic": str(torch.are_deterministic_algorithms_enabled()),
        "float32_products": torch.get_float32_matmul_precision(),
        "tf32_convolutions": str(torch.backends.cudnn.allow_tf32),
    }
    return {**facts, **versions}


def _gpu(device: torch.device) -> Facts:
    about = torch.cuda.get_device_properties(device)
    answer = ask_driver(device)
    return {
        "device": about.name,
        "multiprocessors": str(about.multi_processor_count),
        "memory_bytes": str(about.total_memory),
        "second_level_cache_bytes": str(about.L2_cache_size),
        "capability": f"{about.major}.{about.minor}",
        "power_limit_watts": answer.power_limit_watts,
        "driver": answer.driver,
        "compute_mode": answer.compute_mode,
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def _cpu() -> Facts:
    return {
        "device": _processor(),
        "threads": str(torch.get_num_threads()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    lines = (line for line in processor_lines() if line.startswith("model name"))
    named = [line.partition(":")[2].strip() for line in lines]
    return named[0] if named else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@cache
def hash_kernels(folder: Path = _KERNELS) -> str:
    """SHA-256 of the sources of all kernels: another one may be faster, or wrong."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SOURCES:
            found.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return found.hexdigest()
