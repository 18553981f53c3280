"""Which operators are fastest here: measured for one network, as a table."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from mednext_cli.doctor.columns import OPERATORS
from mednext_cli.foundation.devices import pick_device, pick_dtype
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import check_writable
from mednext_cli.networks.mednext.kernels.measuring.apart import RefusedError
from mednext_cli.networks.mednext.kernels.measuring.choices import Choices
from mednext_cli.networks.mednext.kernels.measuring.choosing import measure_anew, summary
from mednext_cli.networks.mednext.kernels.measuring.selecting import select
from mednext_cli.networks.mednext.kernels.measuring.trials import Measured, Peaks, Planned, Trial
from mednext_cli.networks.mednext.settings import Kernel
from mednext_cli.networks.patches import Patch
from mednext_cli.networks.spec import NetworkSpec, describe_network
from mednext_cli.networks.workload import Workload
from mednext_cli.settings.sections import Precision

logger = logging.getLogger(__name__)
_NAME = re.compile(r"([SBML])-k(\d)", re.IGNORECASE)
_KERNELS = get_args(get_args(Kernel)[0])
_CHANNELS = (1, 3)  # of image and output; stem and heads are not measured
_DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class OperatorsSpec:
    """What to measure.

    Attributes:
        network: size and kernel of MedNeXt, like ``L-k5``.
        patch_voxels: (D, H, W).
        batch: images at once.
        precision: as in training; auto measures bfloat16 beside float32 on a CPU, where what is
            chosen for float32 counts.
        training: with gradients, or as in prediction.
        device: auto, cpu, cuda or cuda:N.
        out: folder for operators.csv.

    Raises:
        SettingsError: there is no such network.
    """

    network: str = "S-k3"
    patch_voxels: Patch = (128, 128, 128)
    batch: int = 2
    precision: Precision = "auto"
    training: bool = True
    device: str = "auto"
    out: Path = Path("operators")

    def __post_init__(self) -> None:
        _ = self.described

    @property
    def described(self) -> NetworkSpec:
        """The network."""
        said = _NAME.fullmatch(self.network)
        if said is None or int(said[2]) not in _KERNELS:
            raise SettingsError(
                f"--network {self.network}",
                "Give a size and a kernel of MedNeXt, like S-k3 or L-k5.",
            )
        return describe_network("mednext", *_CHANNELS, size=said[1].upper(), kernel=int(said[2]))


@dataclass(frozen=True)
class OperatorsResult:
    """What was measured and chosen.

    Attributes:
        rows: of the table, by column.
        summaries: a line for each precision.
        table: the file.
    """

    rows: tuple[Mapping[str, object], ...]
    summaries: tuple[str, ...]
    table: Path


def measure_operators(spec: OperatorsSpec) -> OperatorsResult:
    """Measure, keep what is chosen for runs of the same work, and write operators.csv.

    Raises:
        SettingsError: the device is not there, has not the precision, or cannot be measured now;
            or the network cannot take the patch.
        StorageError: the table cannot be written.
    """
    check_writable(spec.out)
    device = pick_device(spec.device)
    if device.type not in _DEVICES:
        raise SettingsError(f"on {device} there is nothing to choose from", "Add --device cpu.")
    rows: list[Mapping[str, object]] = []
    summaries, table = [], spec.out / OPERATORS.title
    for dtype in _dtypes(spec, device):
        workload = Workload(
            spec.described, spec.patch_voxels, spec.batch, dtype, spec.training, device
        )
        measured, choices = _measure(workload)
        rows += _rows(workload, measured, choices)
        summaries.append(f"{_name(dtype)}, {summary(choices)}")
        OPERATORS.write(table, rows)
    return OperatorsResult(tuple(rows), tuple(summaries), table)


def _dtypes(spec: OperatorsSpec, device: torch.device) -> list[torch.dtype]:
    first = pick_dtype(spec.precision, device)
    both = device.type == "cpu" and spec.precision == "auto"
    return [first, torch.bfloat16] if both else [first]


def _measure(workload: Workload) -> tuple[Measured, Choices]:
    try:
        return measure_anew(workload)
    except RefusedError as error:
        raise SettingsError(
            f"operators cannot be measured on {workload.device}: {error}",
            "Measure when the device is free and whole.",
        ) from error


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _rows(
    workload: Workload, measured: Measured, choices: Choices
) -> Iterator[Mapping[str, object]]:
    selected = select(measured)
    of = {one.shape: one for one in measured.planned}
    for trial in measured.trials:
        candidate, planned = trial.candidate, of[trial.shape]
        taken = candidate.serves(selected.mode) and candidate.way == selected.ways[trial.shape]
        yield {
            "device": choices.device,
            "precision": _name(workload.dtype),
            **_what(trial, planned),
            **_speed(workload, trial, measured.peaks),
            "deviation": trial.deviation,
            "chosen": "yes" if taken else "no",
            "struck_out": trial.struck,
        }


def _what(trial: Trial, planned: Planned) -> dict[str, object]:
    mode = trial.candidate.mode
    return {
        "block": planned.shape.name,
        "blocks": planned.count,
        "operators": trial.candidate.way,
        "layout": mode.layout,
        "cudnn_benchmark": "yes" if mode.benchmark else "no",
        "threads": mode.threads,
    }


def _speed(workload: Workload, trial: Trial, peaks: Peaks | None) -> dict[str, object]:
    """Times, and how they compare with what the device can do; None where it was not timed."""
    names = ("milliseconds", "spread_milliseconds", "teraflops", "gigabytes_per_second")
    if trial.duration is None:
        return dict.fromkeys((*names, "roofline_share"))
    seconds = trial.duration.milliseconds / 1e3
    flops = 2 * trial.shape.multiply_adds(workload.training)
    traffic = trial.shape.least_bytes(workload.dtype.itemsize, workload.training)
    values = (
        trial.duration.milliseconds,
        trial.duration.spread,
        flops / seconds / 1e12,
        traffic / seconds / 1e9,
    )
    floor = None if peaks is None else max(flops / peaks.flops, traffic / peaks.bytes)
    share = None if floor is None else floor / seconds
    return {**dict(zip(names, values, strict=True)), "roofline_share": share}
