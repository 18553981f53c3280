"""`mednext runs`: the runs of a folder, one of them, or several beside each other."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import print_table

if TYPE_CHECKING:
    from mednext_cli.foundation.columns import Table
    from mednext_cli.training.overview.compare import Found, Row

app = typer.Typer(no_args_is_help=True, help="List, show and compare trained runs.")
Out = Annotated[Path | None, typer.Option("--out", "-o", help="CSV file to write the table to.")]
logger = logging.getLogger(__name__)


@app.command("ls")
def list_all(
    runs: Annotated[Path, typer.Argument(help="Folder that holds runs.")] = Path("runs"),
    out: Out = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the runs below a folder with their Dice and minutes; damaged ones are named.

    Example: mednext runs ls runs
    """
    from mednext_cli.training.overview.columns import RUNS
    from mednext_cli.training.overview.compare import list_runs

    found = _warned(list_runs([runs]))
    _show(RUNS, found.rows(runs), out)


@app.command("show")
def show(
    run: Annotated[Path, typer.Argument(help="Folder of a run, like runs/NAME/S-k3/fold0.")],
    out: Out = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show one run: how far it is, its scores, and what its recipe says that is not usual.

    Example: mednext runs show runs/kits19/S-k3/fold0
    """
    from mednext_cli.training.overview.columns import SHOWN
    from mednext_cli.training.overview.compare import show_run

    _show(SHOWN, show_run(run), out)


@app.command("compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders above.")],
    out: Out = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put runs beside each other: Dice by region, minutes, and where their recipes differ.

    Example: mednext runs compare runs/kits19/S-k3/fold0 runs/kits19/S-k5/fold0
    """
    from mednext_cli.training.overview.compare import compare_runs, list_runs

    comparison = compare_runs(_warned(list_runs(runs)).runs)
    if not comparison.same_cases:
        logger.warning("these runs are scored on different cases: their Dice do not compare")
    _show(comparison.table, comparison.rows, out)


def _warned(found: "Found") -> "Found":
    for line in found.passed_over:
        logger.warning("%s", line)
    return found


def _show(table: "Table", rows: "list[Row] | tuple[Row, ...]", out: Path | None) -> None:
    print_table(table.names, map(table.cells, rows))
    if out is not None:
        table.write(out, rows)
