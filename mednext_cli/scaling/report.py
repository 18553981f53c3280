"""The scaling report: each network's costs beside the published ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mednext_cli.foundation.devices import pick_device, pick_dtype
from mednext_cli.foundation.files import make_folder
from mednext_cli.foundation.machine import GIB, free_memory_bytes
from mednext_cli.foundation.progress import track
from mednext_cli.networks.patches import shown_patch
from mednext_cli.scaling.budget import Candidate, Choice, choose_within, parse_budget
from mednext_cli.scaling.costs import cost_columns
from mednext_cli.scaling.device_sheets import find_sheet
from mednext_cli.scaling.measure import measure_network
from mednext_cli.scaling.plot import plot_report
from mednext_cli.scaling.receptive_field import effective_field
from mednext_cli.scaling.specification import ReportedNetwork, ScaleReportSpec
from mednext_cli.scaling.table import BUDGET, SCALE_REPORT, ScaleRow


@dataclass(frozen=True)
class ScaleReportResult:
    """The rows, where they were written, and what the budget affords (None without one)."""

    rows: tuple[ScaleRow, ...]
    table: Path
    plot: Path
    choice: Choice | None = None


def scale_report(spec: ScaleReportSpec) -> ScaleReportResult:
    """Count, estimate and (if asked) measure every network; write scale_report.csv and .png.

    Raises:
        SettingsError: there is no such device, or nothing fits the budget.
        PluginError: a network needs a package that is not installed.
        StorageError: the folder cannot be written.
    """
    device = pick_device(spec.device) if spec.measure else None
    sheet = find_sheet(spec.device_sheet) if spec.device_sheet else None
    rows, networks = [], spec.reported()
    choice = None
    if spec.budget:
        choice = choose_within(parse_budget(spec.budget), networks, spec.batch_size, sheet)
    make_folder(spec.out)
    with track("scaling report", len(networks), "networks") as progress:
        for network in networks:
            columns = cost_columns(network, spec.batch_size, sheet)
            columns["effective_field"] = (
                effective_field(network.spec, network.patch_voxels)
                if spec.effective_field
                else None
            )
            rows.append(ScaleRow(**_with_measurement(columns, spec, network, device)))
            progress.advance(note=network.label)
    table, plot = spec.out / "scale_report.csv", spec.out / "scale_report.png"
    SCALE_REPORT.write(table, map(vars, rows))
    plot_report(rows, plot)
    if choice is not None:
        BUDGET.write(spec.out / "budget.csv", map(_cells, (choice.best, *choice.runners_up)))
    return ScaleReportResult(tuple(rows), table, plot, choice)


def _cells(one: Candidate) -> dict[str, object]:
    again = "on" if one.checkpointing else "off"
    return {**vars(one), "patch": shown_patch(one.patch_voxels), "checkpointing": again}


def _with_measurement(
    columns: dict[str, Any],
    spec: ScaleReportSpec,
    network: ReportedNetwork,
    device: torch.device | None,
) -> dict[str, Any]:
    """The columns, with what was measured, or why nothing was."""
    if device is None:
        return columns
    measured, missing = _measure(columns, spec, network, device)
    note = "; ".join(reason for reason in (columns["note"], missing) if reason)
    return {**columns, **measured, "note": note}


def _measure(
    columns: dict[str, Any], spec: ScaleReportSpec, network: ReportedNetwork, device: torch.device
) -> tuple[dict[str, Any], str]:
    free = free_memory_bytes() / GIB
    plain, less = (columns[f"training_float32_{end}gib"] for end in ("", "checkpointed_"))
    checkpointing = network.checkpointing or (device.type == "cpu" and plain > free)
    if device.type == "cpu" and (less if checkpointing else plain) > free:
        return {}, f"not measured: needs about {less:.1f} GiB, {free:.1f} GiB are free"
    try:
        measured = measure_network(
            network.spec,
            network.patch_voxels,
            spec.batch_size,
            device,
            checkpointing,
            pick_dtype("auto", device),
        )
    except torch.OutOfMemoryError:
        return {}, f"not measured: {device} has too little memory"
    where = {"device": _device_name(device)}
    note = "measured with gradient checkpointing" if checkpointing else ""
    return {**measured.columns(), **where}, note


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} threads"
