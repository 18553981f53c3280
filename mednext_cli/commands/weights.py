"""`mednext weights`: published weights in and out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import report, report_table

app = typer.Typer(no_args_is_help=True, help="Import and export weights of the published code.")


@app.command("import")
def import_weights(
    weights: Annotated[
        Path,
        typer.Argument(help="Weights as published: .pth, .pt, .model, .safetensors or .npz."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
    network: Annotated[
        str, typer.Option(help="Which network they are of; see mednext plugins.")
    ] = "mednext",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What the shapes do not tell, as in the network's table of a recipe; repeatable.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Of MedNeXt: S, B, M or L; refuse any other.", show_default="what the shapes tell"
        ),
    ] = None,
    kernel: Annotated[
        int | None,
        typer.Option(help="Of MedNeXt: refuse any other.", show_default="what the shapes tell"),
    ] = None,
    norm: Annotated[
        Literal["group", "layer"] | None,
        typer.Option(
            help="Of MedNeXt: group or layer, which the shapes do not tell.", show_default="group"
        ),
    ] = None,
    residual: Annotated[
        bool | None,
        typer.Option(
            "--residual/--no-residual",
            help="Of MedNeXt: whether the blocks add their input.",
            show_default="as the resampling blocks do",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a checkpoint of published weights; the network is read off their shapes.

    Example: mednext weights import mednext_s_k3.pth --out pretrained.pt
    """
    from mednext_cli.networks.published import import_file
    from mednext_cli.settings.recipe_files import read_settings

    options = {"size": size, "kernel": kernel, "norm": norm, "residual": residual}
    said = {name: value for name, value in options.items() if value is not None}
    checkpoint = import_file(weights, out, network, read_settings(settings or ()) | said)
    report_table(("setting", "value"), checkpoint.network.flat().items())
    report(f"{out}: {len(checkpoint.state_dict)} tensors")


@app.command("export")
def export_weights(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint, run folder, or a name of mednext models ls.")
    ],
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
    from mednext_cli.inference.catalogue.checkpoints import one_checkpoint
    from mednext_cli.networks.checkpoint import load_checkpoint
    from mednext_cli.networks.published import export_weights as export

    file = one_checkpoint(checkpoint, "CHECKPOINT")
    report(f"{out}: {len(export(out, load_checkpoint(file)))} tensors")
