"""Options that mean the same thing in every command."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.foundation.progress import set_verbosity


def _be_quiet(wanted: bool) -> None:
    if wanted:
        set_verbosity(quiet=True)


def _be_verbose(wanted: bool) -> None:
    if wanted:
        set_verbosity(verbose=True)
        logging.captureWarnings(True)


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_be_quiet, help="Say warnings and errors only.")
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_be_verbose, help="Say more; tracebacks of our faults."
    ),
]
Cache = Annotated[Path, typer.Option(help="Folder that holds the caches, one a dataset.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        show_default="as many as cores and free memory allow",
        help="Worker processes; 0 works in this process.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
OutputFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
