"""`mednext scale-report`: what each network costs, beside what was published."""

from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.clinical import (
    Classes,
    Clinical,
    ClinicalOptions,
    DryRun,
    Engines,
    Mirror,
    Model,
    Overlap,
    Precisions,
    Repeats,
    Scan,
    TargetSpacing,
    Threads,
    Volumes,
    run_clinical,
)
from mednext_cli.commands.options import Device, OutputFolder, Quiet, Verbose
from mednext_cli.commands.tables import report, report_table
from mednext_cli.foundation.errors import SettingsError

_HEADER = (
    "network",
    "parameters, M",
    "published, M",
    "multiply-adds, G",
    "published, G",
    "off, %",
    "training, GiB",
    "checkpointed, GiB",
    "inference, GiB",
    "forward, s",
    "step, s",
)


def scale_report(
    models: Annotated[
        str | None,
        typer.Option(show_default="S,B,M,L; --clinical: S", help="Sizes, separated by commas."),
    ] = None,
    kernels: Annotated[
        str | None,
        typer.Option(show_default="3,5; --clinical: 3", help="Kernels, separated by commas."),
    ] = None,
    patch: Annotated[
        str | None, typer.Option(show_default="128", help="Voxels: 128, or D,H,W.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Patches a training step.")] = 2,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also run every network on the device.")
    ] = False,
    clinical: Clinical = False,
    model: Model = None,
    scan: Scan = None,
    volumes: Volumes = None,
    spacing: TargetSpacing = None,
    classes: Classes = None,
    engines: Engines = None,
    precisions: Precisions = None,
    threads: Threads = None,
    overlap: Overlap = None,
    mirror: Mirror = None,
    repeats: Repeats = None,
    dry_run: DryRun = False,
    device: Device = "auto",
    out: OutputFolder = Path("scale_report"),
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Report parameters, multiply-adds, memory and (with --measure) time of the networks.

    Writes scale_report.csv (every column, with notes) and scale_report.png; with --clinical
    clinical.csv and clinical.html. Interrupted, the same command with --clinical carries on.

    Example: mednext scale-report --models S,B --kernels 3,5 --patch 128 --out scaling
    """
    options = ClinicalOptions(
        model, scan, volumes, spacing, classes, engines,
        precisions, threads, overlap, mirror, repeats, dry_run,
    )  # fmt: skip
    if clinical and measure:
        raise SettingsError("--clinical and --measure are two reports", "Give one of them.")
    if clinical:
        run_clinical(options, models, kernels, patch, device, out)
        return
    options.check_unused()
    _report(models or "S,B,M,L", kernels or "3,5", patch or "128", batch, measure, device, out)


def _report(
    models: str, kernels: str, patch: str, batch: int, measure: bool, device: str, out: Path
) -> None:
    from mednext_cli.scaling.report import scale_report as run
    from mednext_cli.scaling.specification import (
        ScaleReportSpec,
        parse_list,
        parse_patch,
        parse_whole_numbers,
    )

    result = run(
        ScaleReportSpec(
            models=parse_list(models),
            kernels=parse_whole_numbers(kernels, "--kernels"),
            patch_voxels=parse_patch(patch),
            batch_size=batch,
            measure=measure,
            device=device,
            out=out,
        )
    )
    rows = [
        (
            f"{row.model} k{row.kernel}",
            row.parameters / 1e6,
            row.published_parameters_millions,
            row.multiply_adds / 1e9,
            row.published_multiply_adds_giga,
            row.multiply_adds_deviation_percent,
            row.training_gib,
            row.training_checkpointed_gib,
            row.inference_gib,
            row.forward_seconds,
            row.step_seconds,
        )
        for row in result.rows
    ]
    report_table(_HEADER, rows)
    for row in result.rows:
        if row.note:
            report(f"{row.model} k{row.kernel}: {row.note}")
    report(f"{result.table}, {result.plot}")
