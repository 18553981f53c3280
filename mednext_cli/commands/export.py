"""`mednext export`: trained networks for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import report_table
from mednext_cli.exporting.specification import ExportPrecision, ExportSpec, Format


def export(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Checkpoint, run folder, folder of folds (a file for each), or a name of mednext "
            "models ls.",
        ),
    ],
    to: Annotated[Format, typer.Option(help="Format to write.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the files.",
            show_default="export/ beside each; of a model by name NAME_export/ here",
        ),
    ] = None,
    precision: Annotated[
        ExportPrecision,
        typer.Option(help="Of the network; int8 for openvino, kept where its Dice stays."),
    ] = "float32",
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="CACHE/NAME",
            show_default=False,
            help="Cached dataset that the run was trained on, for --precision int8.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a trained network in another format; the file is checked before it is kept.

    Example: mednext export runs/kits19/S-k3/fold0 --to safetensors
    """
    from mednext_cli.exporting.export import export as run

    result = run(ExportSpec(model, to, out, precision, calibrate))
    report_table(("file", "checked"), [(one.path, one.checked) for one in result.files])
