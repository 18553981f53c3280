"""`mednext weights`: published MedNeXt weights in and out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import report, report_table

app = typer.Typer(no_args_is_help=True, help="Import and export weights of the published code.")


@app.command("import")
def import_weights(
    official: Annotated[
        Path,
        typer.Argument(
            help="State dict of the published MedNeXt: .pth, .model, .safetensors, .npz."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
    size: Annotated[
        str | None,
        typer.Option(help="S, B, M or L: refuse any other.", show_default="what the shapes tell"),
    ] = None,
    kernel: Annotated[
        int | None,
        typer.Option(help="Refuse any other.", show_default="what the shapes tell"),
    ] = None,
    norm: Annotated[
        Literal["group", "layer"], typer.Option(help="The shapes do not tell.")
    ] = "group",
    residual: Annotated[
        bool | None,
        typer.Option(
            "--residual/--no-residual",
            help="Whether the blocks add their input.",
            show_default="as the resampling blocks do",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a checkpoint of published weights; the network is read off their shapes.

    Example: mednext weights import mednext_s_k3.pth --out pretrained.pt
    """
    from mednext_cli.networks.mednext.weights import import_file

    checkpoint = import_file(official, out, size, kernel, norm, residual)
    report_table(("setting", "value"), checkpoint.network.flat().items())
    report(f"{out}: {len(checkpoint.state_dict)} tensors")


@app.command("export")
def export_weights(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of mednext.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File: .safetensors, .pt, .pth or .npz by its suffix."),
    ],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a checkpoint's weights under the names of the published code.

    Example: mednext weights export checkpoint_best.pt --out mednext_s_k3.safetensors
    """
    from mednext_cli.networks.checkpoint import load_checkpoint
    from mednext_cli.networks.mednext.weights import export_official

    weights = export_official(out, load_checkpoint(checkpoint))
    report(f"{out}: {len(weights)} tensors")
