"""`mednext ensemble`: label maps of the average of saved probabilities."""

from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import OutputFolder, Quiet, Verbose
from mednext_cli.commands.tables import report


def ensemble(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDS...", help="Folders of mednext predict --probabilities, two or more."
        ),
    ],
    out: OutputFolder,
    weights: Annotated[
        str | None,
        typer.Option(metavar="2,1", show_default="all alike", help="Of each folder."),
    ] = None,
    postprocess: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="none",
            help="Post-processing, by mednext postprocess fit; or the folder that has it.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Make done cases anew.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write OUT/CASE.nii.gz for each case that all folders have; done cases are skipped.

    Example: mednext ensemble predictions/k3 predictions/k5 --out predictions/both --weights 1,2
    """
    from mednext_cli.inference.ensembling.ensemble import EnsembleSpec
    from mednext_cli.inference.ensembling.ensemble import ensemble as run
    from mednext_cli.inference.options import read_member_weights

    result = run(
        EnsembleSpec(
            predictions=tuple(predictions),
            out=out,
            weights=None if weights is None else read_member_weights(weights),
            postprocessing=postprocess,
            force=force,
        )
    )
    report(f"{result.folder}: {len(result.made)} made, {len(result.kept)} kept")
