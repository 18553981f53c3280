"""`mednext models`: trained models that are found by name."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import print_table, report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mednext_cli.foundation.columns import Table

app = typer.Typer(no_args_is_help=True, help="List, show, add and remove trained models by name.")
Out = Annotated[Path | None, typer.Option("--out", "-o", help="CSV file to write the table to.")]
logger = logging.getLogger(__name__)


@app.command("ls")
def list_all(out: Out = None, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """List the models that mednext predict --model takes by name; damaged ones are named.

    Example: mednext models ls
    """
    from mednext_cli.inference.catalogue.columns import MODELS
    from mednext_cli.inference.catalogue.listing import list_models

    listing = list_models()
    for line in listing.passed_over:
        logger.warning("%s", line)
    _show(MODELS, listing.rows, out)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Of a model, see mednext models ls.")],
    out: Out = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show a model's card: what it is for, its limits, scores, data and licence.

    Example: mednext models show hippocampus
    """
    from mednext_cli.inference.catalogue.columns import MODEL_CARD
    from mednext_cli.inference.catalogue.listing import show_model

    _show(MODEL_CARD, show_model(name), out)


@app.command("add")
def add(
    path: Annotated[
        Path, typer.Argument(help="Checkpoint, run folder, folder of folds, or name of a model.")
    ],
    name: Annotated[str, typer.Option(help="What to call it.")],
    card: Annotated[
        Path | None,
        typer.Option(
            show_default="card.toml with the model, else what its checkpoint says",
            help="Its card, a TOML file.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace a model of yours of that name.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Copy a model into your data folder, where mednext predict --model finds it by its name.

    Example: mednext models add runs/kits19/S-k3/fold0 --name kidney
    """
    from mednext_cli.inference.catalogue.add import AddModelSpec, add_model

    added = add_model(AddModelSpec(path, name, card, force))
    if added.card_made:
        logger.warning(
            "%s: the card says what the checkpoint does; the rest is not stated. --card gives one",
            name,
        )
    report(f"{name}: {added.folder}")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Of a model that you added.")],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Remove a model from your data folder.

    Example: mednext models remove kidney
    """
    from mednext_cli.inference.catalogue.add import remove_model

    remove_model(name)
    report(f"{name}: removed")


def _show(table: "Table", rows: "Sequence[dict[str, object]]", out: Path | None) -> None:
    print_table(table.names, map(table.cells, rows))
    if out is not None:
        table.write(out, rows)
