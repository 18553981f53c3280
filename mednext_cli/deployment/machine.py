"""Where something was measured: processor, accelerator, system and versions."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import psutil
import torch

from mednext_cli import __version__
from mednext_cli.foundation.machine import GIB, usable_cores
from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.foundation.processor import processor_lines


def describe_machine(device: torch.device) -> str:
    """Processor, cores and memory; of a GPU its name and memory, too."""
    memory = psutil.virtual_memory().total / GIB
    text = f"{_processor()}, {usable_cores()} cores, {memory:.1f} GiB"
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        text += f"; {about.name}, {about.total_memory / GIB:.1f} GiB"
    return text


def describe_system() -> str:
    """The operating system and Python."""
    return f"{platform.system()} {platform.release()}, Python {platform.python_version()}"


def versions_of(engine: str) -> dict[str, str]:
    """Versions of mednext, PyTorch and what the engine computes with.

    Raises:
        PluginError: there is no such engine.
    """
    needed: Mapping[str, str] = getattr(load_plugin("engines", engine), "requires", {})
    found = {"mednext": __version__, "torch": str(torch.__version__)}
    return found | {package: _version(package) for package in needed}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Its name, as the system tells it."""
    lines = (line for line in processor_lines() if line.startswith("model name"))
    named = [line.partition(":")[2].strip() for line in lines]
    return named[0] if named else platform.processor() or platform.machine()
