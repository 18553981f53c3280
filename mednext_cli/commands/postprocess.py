"""`mednext postprocess`: what is done to label maps after the networks, fitted and stored."""

from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose, Workers
from mednext_cli.commands.tables import report, report_table

app = typer.Typer(
    no_args_is_help=True,
    help="Post-processing of label maps, fitted on validation cases and applied by predict.",
)


@app.callback()
def _group() -> None:
    """Post-processing of label maps, fitted on validation cases and applied by predict."""


@app.command()
def fit(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|PREDS",
            help="Run folder, folder of folds, or a folder of label maps without post-processing.",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Argument(metavar="LABELS", help="The references, or a raw dataset's folder."),
    ],
    dataset: Annotated[
        str | None, typer.Option(help="Layout of LABELS; see mednext datasets ls.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the results.", show_default="that of RUN or PREDS"
        ),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find which steps raise the Dice of validation cases, and store them with the model.

    Writes postprocessing.json, which mednext predict --model RUN applies, and postprocessing.csv.

    Example: mednext postprocess fit runs/kits19/S-k3 raw/ --dataset kits19
    """
    from mednext_cli.inference.postprocessing.columns import FITTED
    from mednext_cli.inference.postprocessing.fit import FitPostprocessingSpec, fit_postprocessing

    result = fit_postprocessing(FitPostprocessingSpec(predictions, labels, dataset, out, workers))
    report_table(FITTED.names, map(FITTED.cells, result.rows), title=FITTED.title)
    steps = [f"{step.structure}: {step.text}" for step in result.postprocessing.steps]
    report(f"{result.path}: {', '.join(steps) or 'no step helps'}")
