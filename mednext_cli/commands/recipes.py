"""`mednext recipes`: browse, read, copy and check what training runs are made from."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import Device, Quiet, Verbose
from mednext_cli.commands.tables import print_table, report

app = typer.Typer(no_args_is_help=True, help="Browse, read, copy and check recipes.")
Name = Annotated[str, typer.Argument(help="Shipped recipe or TOML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value; repeatable."),
]


@app.command("ls")
def list_recipes(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """List the shipped recipes, of one training and of experiments.

    Example: mednext recipes ls
    """
    from mednext_cli.settings.recipe_files import find_recipes, is_experiment, read_source

    sources = {name: read_source(name) for name in find_recipes()}
    rows = [
        (name, "experiment" if is_experiment(one) else "training", one.values.get("description"))
        for name, one in sources.items()
    ]
    print_table(("recipe", "of", "description"), rows)


@app.command("show")
def show_recipe(
    name: Name,
    settings: Settings = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Print a recipe as it is resolved: every value a run would use; of an experiment its arms.

    Example: mednext recipes show cpu --set training.epochs=50
    """
    from mednext_cli.networks.recipes import load_recipe
    from mednext_cli.settings.experiment_files import dump_experiment, load_experiment
    from mednext_cli.settings.recipe_files import recipe_text

    if _is_experiment(name):
        text = dump_experiment(load_experiment(name, settings or []))
    else:
        text = recipe_text(load_recipe(name, settings or []))
    typer.echo(text, nl=False)


@app.command("cp")
def copy_recipe(
    name: Name,
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Copy a recipe, resolved, to edit it.

    Example: mednext recipes cp cpu mine.toml
    """
    from mednext_cli.foundation.errors import SettingsError
    from mednext_cli.networks.recipes import load_recipe
    from mednext_cli.settings.experiment_files import load_experiment, write_experiment
    from mednext_cli.settings.recipe_files import write_recipe

    write = (
        partial(write_experiment, experiment=load_experiment(name))
        if _is_experiment(name)
        else partial(write_recipe, recipe=load_recipe(name))
    )
    if target.suffix != ".toml":
        raise SettingsError(f"{target}: a recipe's name ends in .toml", f"Try {target}.toml.")
    if target.exists() and not force:
        raise SettingsError(f"{target} exists", "Choose another name, or add --force.")
    write(target)
    report(f"{target}")


@app.command("check")
def check_recipe(
    name: Name,
    settings: Settings = None,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the scans.")] = 1,
    classes: Annotated[int, typer.Option(min=2, help="Classes, background included.")] = 3,
    measure: Annotated[
        bool, typer.Option("--measure", help="Take a few steps here: minutes of the whole run.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check a recipe, build its network without memory, and estimate what a run needs.

    Of an experiment every arm is checked, and has a row.

    Example: mednext recipes check mine.toml --channels 4 --classes 4
    """
    from mednext_cli.networks.recipes import load_recipe
    from mednext_cli.training.estimate import estimate_run

    if _is_experiment(name):
        _check_experiment(name, settings or [], channels, classes, measure)
        return
    recipe = load_recipe(name, settings or [])
    rows = estimate_run(recipe, channels, classes)
    if measure:
        from mednext_cli.training.measure import measure_run

        rows += measure_run(recipe, channels, classes, device)
    print_table(("what", "value"), [(row.what, row.value) for row in rows])


def _is_experiment(name: str) -> bool:
    from mednext_cli.settings.recipe_files import is_experiment, read_source

    return is_experiment(read_source(name))


def _check_experiment(
    name: str, settings: list[str], channels: int, classes: int, measure: bool
) -> None:
    from mednext_cli.commands.experiment_tables import ARMS, arm_rows
    from mednext_cli.experiments.arms import resolve_arms
    from mednext_cli.experiments.needs import estimate_needs
    from mednext_cli.foundation.errors import SettingsError
    from mednext_cli.settings.experiment_files import load_experiment
    from mednext_cli.training.measure import made_up_plan

    if measure:
        raise SettingsError(
            f"--measure: {name} has several arms", "Measure the recipe of one training."
        )
    experiment = load_experiment(name, settings)
    arms = resolve_arms(experiment, name)
    plan = made_up_plan(channels, classes)
    needs = {arm: estimate_needs(one.recipe, plan) for arm, one in arms.items()}
    print_table(ARMS, arm_rows(arms, needs))
