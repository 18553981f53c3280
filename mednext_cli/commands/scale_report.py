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
from mednext_cli.commands.costs import (
    Budget,
    DeviceSheet,
    EffectiveField,
    Networks,
    Widths,
    run_costs,
)
from mednext_cli.commands.options import Device, OutputFolder, Quiet, Verbose
from mednext_cli.foundation.errors import SettingsError


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
    networks: Networks = "mednext",
    widths: Widths = "32",
    device_sheet: DeviceSheet = None,
    budget: Budget = None,
    effective_field: EffectiveField = False,
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
    """Report size, receptive field, memory and time of the networks: which one can I afford?

    Memory is estimated in float32 and in half precision (bfloat16 or float16 autocast). Seconds and
    hours are measured here (--measure) or estimated for a device (--device-sheet). Writes
    scale_report.csv (every column, with notes) and scale_report.png; with --clinical clinical.csv
    and clinical.html. Interrupted, the same command with --clinical carries on.

    Example: mednext scale-report --budget "24 GiB, 72 h" --device-sheet rtx4090
    """
    options = ClinicalOptions(
        model, scan, volumes, spacing, classes, engines,
        precisions, threads, overlap, mirror, repeats, dry_run,
    )  # fmt: skip
    if clinical:
        _refuse(
            measure=measure,
            budget=budget,
            device_sheet=device_sheet,
            effective_field=effective_field,
            networks=networks != "mednext",
            widths=widths != "32",
            batch=batch != 2,
        )
        run_clinical(options, models, kernels, patch, device, out)
        return
    options.check_unused()
    from mednext_cli.scaling.specification import (
        ScaleReportSpec,
        parse_list,
        parse_patch,
        parse_whole_numbers,
    )

    run_costs(
        ScaleReportSpec(
            models=parse_list(models or "S,B,M,L"),
            kernels=parse_whole_numbers(kernels or "3,5", "--kernels"),
            widths=parse_whole_numbers(widths, "--widths"),
            networks=parse_list(networks),
            patch_voxels=parse_patch(patch or "128"),
            batch_size=batch,
            device_sheet=device_sheet or "",
            budget=budget or "",
            effective_field=effective_field,
            measure=measure,
            device=device,
            out=out,
        )
    )


def _refuse(**given: object) -> None:
    """Refuse beside --clinical what only the other report heeds."""
    for name, value in given.items():
        if value:
            raise SettingsError(
                f"--clinical and --{name.replace('_', '-')} are two reports", "Give one of them."
            )
