"""What a GPU's clocks and temperature are while it is timed."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec

import torch

_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
_SECONDS = 10.0


@dataclass(frozen=True)
class Clocks:
    """Of a GPU at one moment; NaN is what the driver does not tell.

    Attributes:
        sm_mhz: of the multiprocessors.
        memory_mhz: of the memory.
        celsius: temperature of the chip.
        watts: power.
    """

    sm_mhz: float
    memory_mhz: float
    celsius: float
    watts: float


def read_clocks(device: torch.device) -> Clocks | None:
    """By NVML where its Python package (nvidia-ml-py) is, else by nvidia-smi; None with neither."""
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    if find_spec("pynvml") is not None:
        return _from_nvml(uuid)
    tool = shutil.which("nvidia-smi")
    return None if tool is None else _from_tool(tool, uuid)


def _from_nvml(uuid: str) -> Clocks | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return Clocks(
            pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
            pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM),
            pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
            pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
        )
    except pynvml.NVMLError:
        return None


def _from_tool(tool: str, uuid: str) -> Clocks | None:
    command = [
        tool,
        f"--query-gpu={','.join(_FIELDS)}",
        "--format=csv,noheader,nounits",
        "-i",
        uuid,
    ]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return clocks_of_line(answer.stdout)


def clocks_of_line(line: str) -> Clocks | None:
    """Of nvidia-smi's answer to sm, memory, temperature, power; None where it is another."""
    values = line.strip().split(",")
    return Clocks(*map(_number, values)) if len(values) == len(_FIELDS) else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        return float("nan")
