"""All that is told of a network without running it: size, field, memory, and time on a sheet."""

from collections.abc import Sequence
from typing import Any

import torch

from mednext_cli.networks.patches import shown_patch
from mednext_cli.scaling.complexity import Complexity, complexity_of
from mednext_cli.scaling.device_sheets import DeviceSheet
from mednext_cli.scaling.dry_run import DryNetwork
from mednext_cli.scaling.memory import MemoryEstimate, memory_of
from mednext_cli.scaling.published import PUBLISHED, REVISITED
from mednext_cli.scaling.receptive_field import receptive_field
from mednext_cli.scaling.roofline import estimate_time
from mednext_cli.scaling.specification import PUBLISHED_PATCH, PUBLISHED_WIDTH, ReportedNetwork

HALF = torch.bfloat16  # float16 takes as much
_ADAMW_MOMENTS = 2
_TOLERANCE_PERCENT = 2.0


def cost_columns(
    network: ReportedNetwork, batch_size: int, sheet: DeviceSheet | None
) -> dict[str, Any]:
    """The columns of a row that no run is needed for.

    Args:
        network: of the row.
        batch_size: patches a training step.
        sheet: of the device to estimate seconds for; None leaves them empty.

    Raises:
        SettingsError: the network cannot take its patch.
    """
    patch = network.patch_voxels
    dry = DryNetwork(network.spec, sheet.device_type if sheet else "cuda")
    complexity = complexity_of(dry, patch)
    field = receptive_field(dry, patch)
    return {
        "network": network.label,
        "model": network.model,
        "kernel": network.kernel,
        "width": network.width,
        "patch": shown_patch(patch),
        "batch": batch_size,
        "parameters": complexity.parameters,
        "multiply_adds": complexity.multiply_adds,
        "multiply_adds_and_norms": complexity.multiply_adds_and_norms,
        "receptive_field": shown_patch(field) if field else "",
        **_memory_columns(dry, patch, batch_size),
        "checkpointing": "on" if network.checkpointing else "off",
        **_published_columns(network, complexity),
        **(_time_columns(dry, network, batch_size, sheet) if sheet else {}),
    }


def _memory_columns(
    dry: DryNetwork, patch_voxels: Sequence[int], batch_size: int
) -> dict[str, float | None]:
    columns: dict[str, float | None] = {}
    for name, dtype in (("float32", torch.float32), ("half", HALF)):
        memory = memory_of(dry, patch_voxels, batch_size, _ADAMW_MOMENTS, dtype)
        columns |= {"weights_gib": memory.weights_gib, **_named(memory, name)}
        columns["training_half_fused_gib"] = memory.training_fused_gib
    return columns


def _named(memory: MemoryEstimate, precision: str) -> dict[str, float]:
    return {
        f"training_{precision}_gib": memory.training_gib,
        f"training_{precision}_checkpointed_gib": memory.training_checkpointed_gib,
        f"inference_{precision}_gib": memory.inference_gib,
    }


def _time_columns(
    dry: DryNetwork, network: ReportedNetwork, batch_size: int, sheet: DeviceSheet
) -> dict[str, Any]:
    dtype = sheet.training_dtype
    run = dry.train(network.patch_voxels, batch_size, dtype, network.checkpointing)
    time = estimate_time(run.work, dry.weights_bytes, sheet)
    fused = {}
    if dry.on_gpu and dtype.itemsize == 2 and dry.fuses():
        whole = dry.train(network.patch_voxels, batch_size, dtype)
        hours = estimate_time(whole.work, dry.weights_bytes, sheet).fused_hours()
        fused = {"estimated_fused_hours": hours}
    return {
        "sheet": sheet.title,
        "sheet_precision": str(dtype).removeprefix("torch."),
        "estimated_floor_step_seconds": time.floor_seconds,
        "estimated_step_seconds": time.expected_seconds,
        "estimated_floor_hours": time.floor_hours(),
        "estimated_hours": time.hours(),
        **fused,
    }


def _published_columns(network: ReportedNetwork, complexity: Complexity) -> dict[str, Any]:
    columns: dict[str, Any] = {"note": ""}
    as_published = network.patch_voxels == PUBLISHED_PATCH and network.width == PUBLISHED_WIDTH
    if as_published and (said := PUBLISHED.get((network.model, network.kernel or 0))):
        columns = {
            "published_parameters_millions": said[0],
            "parameters_deviation_percent": _percent(complexity.parameters / 1e6, said[0]),
            "published_multiply_adds_giga": said[1],
            "multiply_adds_deviation_percent": _percent(complexity.multiply_adds / 1e9, said[1]),
            "note": _explain(complexity, said),
        }
    trained = REVISITED.get(network.label)
    if trained and trained.patch_voxels == network.patch_voxels:
        columns |= {
            "published_a100_hours": trained.a100_hours,
            "published_vram_gb": trained.vram_gb,
            "published_dice_percent": round(trained.mean_dice, 2),
        }
    return columns


def _percent(ours: float, published: float) -> float:
    return round(100 * (ours / published - 1), 2)


def _explain(complexity: Complexity, published: tuple[float, float]) -> str:
    """Why a figure is more than 2 % off.

    The published counter is fvcore's (the published code's own script calls it): multiply-adds of
    convolutions, transposed ones at their input's resolution, as here, plus 5 operations per
    normalised value. With these, all eight networks are within 0.5 %; what is left is rounding and
    the heads of a data set with more classes.
    """
    reasons = []
    if abs(_percent(complexity.parameters / 1e6, published[0])) > _TOLERANCE_PERCENT:
        reasons.append(
            "other channels and classes than published change the stem and the heads only"
        )
    if abs(_percent(complexity.multiply_adds / 1e9, published[1])) > _TOLERANCE_PERCENT:
        with_norms = complexity.multiply_adds_and_norms / 1e9
        reasons.append(
            "the published counter (fvcore) adds 5 operations per normalised value: with them "
            f"{with_norms:.1f} G, {_percent(with_norms, published[1]):+.2f} % off"
        )
    return "; ".join(reasons)
