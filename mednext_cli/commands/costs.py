"""What `mednext scale-report` prints of each network's costs."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mednext_cli.commands.tables import report, report_table

if TYPE_CHECKING:
    from mednext_cli.scaling.budget import Choice
    from mednext_cli.scaling.specification import ScaleReportSpec
    from mednext_cli.scaling.table import ScaleRow

DeviceSheet = Annotated[
    Literal["h100", "a100", "rtx4090", "cpu"] | None,
    typer.Option(
        show_default="none",
        help="Estimate seconds and hours on this device; cpu is this machine's.",
    ),
]
Networks = Annotated[
    str, typer.Option(help="mednext and others, as mednext plugins and baselines/ name them.")
]
Widths = Annotated[str, typer.Option(help="Widths of MedNeXt, separated by commas.")]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="LIMITS",
        show_default="none",
        help='Choose the largest network that fits "11 GiB, 24 h", "11 GiB" or "24 h".',
    ),
]
EffectiveField = Annotated[
    bool, typer.Option("--effective-field", help="Also run gradients: what untrained ones look at.")
]


def run_costs(spec: "ScaleReportSpec") -> None:
    """Make the report and print its tables."""
    from mednext_cli.scaling.report import scale_report

    result = scale_report(spec)
    _show_sizes(result.rows)
    _show_memory(result.rows)
    if spec.device_sheet or spec.measure:
        _show_times(result.rows)
    for row in result.rows:
        if row.note:
            report(f"{row.network}: {row.note}")
    if result.choice is not None:
        show_choice(result.choice)
    report(f"{result.table}, {result.plot}")


def _show_sizes(rows: "tuple[ScaleRow, ...]") -> None:
    header = (
        "network",
        "parameters, M",
        "published, M",
        "multiply-adds, G",
        "published, G",
        "off, %",
        "receptive field, voxels",
    )
    cells = [
        (
            row.network,
            row.parameters / 1e6,
            row.published_parameters_millions,
            row.multiply_adds / 1e9,
            row.published_multiply_adds_giga,
            row.multiply_adds_deviation_percent,
            row.receptive_field,
        )
        for row in rows
    ]
    report_table(header, cells, title="size")


def _show_memory(rows: "tuple[ScaleRow, ...]") -> None:
    header = (
        "network",
        "training float32, GiB",
        "checkpointed float32, GiB",
        "training half, GiB",
        "checkpointed half, GiB",
        "fused half, GiB",
        "inference float32, GiB",
        "inference half, GiB",
    )
    cells = [
        (
            row.network,
            row.training_float32_gib,
            row.training_float32_checkpointed_gib,
            row.training_half_gib,
            row.training_half_checkpointed_gib,
            row.training_half_fused_gib,
            row.inference_float32_gib,
            row.inference_half_gib,
        )
        for row in rows
    ]
    report_table(header, cells, title="estimated memory, half is bfloat16 or float16 autocast")


def _show_times(rows: "tuple[ScaleRow, ...]") -> None:
    header = (
        "network",
        "checkpointing",
        "estimated step, s",
        "estimated hours",
        "estimated floor, hours",
        "estimated hours, fused operators",
        "published A100 hours",
        "measured forward, s",
        "measured step, s",
        "spread, s",
        "measured hours",
    )
    cells = [
        (
            row.network,
            row.checkpointing,
            row.estimated_step_seconds,
            row.estimated_hours,
            row.estimated_floor_hours,
            row.estimated_fused_hours,
            row.published_a100_hours,
            row.forward_seconds,
            row.step_seconds,
            row.step_spread_seconds,
            row.training_hours,
        )
        for row in rows
    ]
    first = rows[0]
    of = [f"estimates of {first.sheet}, {first.sheet_precision}"] * bool(first.sheet)
    of += [f"measured on {first.device}, {first.precision}"] * bool(first.device)
    report_table(header, cells, title=f"time of 250,000 steps: {'; '.join(of)}")


def show_choice(choice: "Choice") -> None:
    """What a budget affords, the runners-up, and why not the next larger."""
    header = (
        "network",
        "patch, voxels",
        "batch",
        "precision",
        "operators",
        "checkpointing",
        "estimated GiB, in that precision",
        "estimated hours",
        "published Dice, %",
    )
    cells = [
        (
            one.network,
            " x ".join(map(str, one.patch_voxels)),
            one.batch,
            one.precision,
            one.operators,
            "on" if one.checkpointing else "off",
            one.gib,
            one.hours,
            one.dice,
        )
        for one in (choice.best, *choice.runners_up)
    ]
    report_table(header, cells, title="what the budget affords, largest first")
    report(f"the largest that fits: {choice.best.describe()}")
    if choice.beyond:
        report(f"not the next larger: {choice.beyond}")
