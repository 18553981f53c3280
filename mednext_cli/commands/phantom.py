"""`mednext phantom`: made-up abdominal CTs to try everything on."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mednext_cli.commands.options import Quiet, Verbose, Workers
from mednext_cli.commands.tables import report_table


def phantom(
    folder: Annotated[Path, typer.Argument(help="New folder for the cases.")],
    cases: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="Z,Y,X",
            show_default="96 x 96 pixels, slices that cover 128 mm",
            help="Slices, rows, columns; 100,512,512 is full size.",
        ),
    ] = None,
    scanner: Annotated[
        Literal["arterial", "venous"],
        typer.Option(
            help="arterial as KiTS19; venous: the same patients on a noisier, sharper scanner, "
            "later after the contrast."
        ),
    ] = "arterial",
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write CT-like scans with kidneys and tumours, in the layout of KiTS19.

    Case N depends on the seed and N alone. Cases already there are kept.

    Example: mednext phantom raw/ --cases 8 --seed 0
    """
    from mednext_cli.datasets.columns import PHANTOMS
    from mednext_cli.datasets.phantom.write import PhantomSpec, parse_shape
    from mednext_cli.datasets.phantom.write import phantom as run

    size = None if shape is None else parse_shape(shape)
    result = run(PhantomSpec(folder, cases, seed, size, workers, scanner))
    rows = [
        {
            **vars(case),
            "shape": " x ".join(map(str, case.shape)),
            "spacing_mm": " x ".join(f"{length:.2f}" for length in case.spacing_mm),
        }
        for case in result.cases
    ]
    report_table(PHANTOMS.names, map(PHANTOMS.cells, rows))
