"""`mednext train`: one run, from a cache to a validated checkpoint."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.options import Cache, Device, Operators, Quiet, Verbose
from mednext_cli.commands.tables import report, report_table

if TYPE_CHECKING:
    from mednext_cli.training.train import TrainResult

_Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        show_default="baselines/NETWORK of --network, else mednext",
        help="Shipped recipe or TOML file.",
    ),
]
_Network = Annotated[
    str | None,
    typer.Option(show_default="the recipe's", help="Which network; see mednext plugins."),
]
_Model = Annotated[
    str | None, typer.Option(show_default="the recipe's", help="Of MedNeXt: S, B, M or L.")
]
_Kernel = Annotated[
    int | None, typer.Option(show_default="the recipe's", help="Of MedNeXt: 3, 5 or 7.")
]


def train(
    name: Annotated[str, typer.Argument(help="Dataset: a folder below --cache.")],
    cache: Cache = Path("mednext_cache"),
    recipe: _Recipe = None,
    network: _Network = None,
    model: _Model = None,
    kernel: _Kernel = None,
    fold: Annotated[str, typer.Option(help="0 to 4, or all: train on every case.")] = "0",
    init: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from (as mednext upkern makes).")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    restart: Annotated[bool, typer.Option(help="Begin anew, whatever is there.")] = False,
    extend: Annotated[
        bool, typer.Option(help="Go on, though the run was begun with another number of epochs.")
    ] = False,
    device: Device = "auto",
    operators: Operators = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's value; repeatable."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train one fold, resume it where it stopped, and validate it on whole cases.

    The run is in RUNS/NAME/NETWORK/foldN (NETWORK: S-k3, or S-k3-w16 where the width is not 32; of
    others than MedNeXt their name, and what is not the default): checkpoints, recipe.toml, log.csv,
    progress.png, tensorboard/ and validation/ with label maps and scores. The same command goes on
    with it.

    Example: mednext train kits19 --model S --kernel 3 --fold 0
    """
    from mednext_cli.networks.recipes import load_recipe
    from mednext_cli.settings.recipe_files import recipe_for
    from mednext_cli.training.train import TrainSpec
    from mednext_cli.training.train import train as run

    options = {
        "--network": ("model.network", network),
        "--model": ("model.mednext.size", model),
        "--kernel": ("model.mednext.kernel", kernel),
        "--operators": ("model.operators", operators),
    }
    result = run(
        TrainSpec(
            cache=cache / name,
            recipe=load_recipe(recipe or recipe_for(network), settings or (), options),
            fold=fold,
            runs=runs,
            init=init,
            restart=restart,
            extend=extend,
            device=device,
        )
    )
    _report(result)


def _report(result: "TrainResult") -> None:
    from mednext_cli.foundation.progress import format_seconds

    report(f"{result.folder}: trained for {format_seconds(result.seconds)}")
    if result.dice:
        report_table(("region", "dice"), list(result.dice.items()), title="validation, whole cases")
    folder = shlex.quote(str(result.folder))
    report(f"next: mednext predict SCANS --model {folder} --out predictions/")
