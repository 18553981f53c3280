"""`mednext train`: one run, from a cache to a validated checkpoint."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.costs import Budget, DeviceSheet, show_choice
from mednext_cli.commands.options import Cache, Device, Operators, Quiet, Verbose
from mednext_cli.commands.tables import print_table, report, report_table
from mednext_cli.foundation.errors import SettingsError

if TYPE_CHECKING:
    from mednext_cli.training.cross_validation import CrossValidationResult
    from mednext_cli.training.train import TrainResult, TrainSpec

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
    str | None,
    typer.Option(
        show_default="the recipe's",
        help="Of MedNeXt: 3, 5 or 7; 3,5,7 trains with 3, then with each larger one, begun from "
        "the one before by UpKern.",
    ),
]
_Fold = Annotated[
    str,
    typer.Option(
        help="0 to 4; 0,2: these in turn; cv: all in turn; all: train on every case.",
    ),
]

_Init = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint (as mednext upkern makes), run, or a name of mednext models ls to start "
        "from."
    ),
]
_Splits = Annotated[
    Path | None,
    typer.Option(
        show_default="splits.json in the cache, else the recipe's folds",
        help="JSON file with the cases of each fold, like nnU-Net's splits_final.json.",
    ),
]
_Extend = Annotated[
    bool, typer.Option(help="Go on, though the run was begun with another number of epochs.")
]
_Profile = Annotated[
    int | None,
    typer.Option(
        "--profile",
        min=1,
        metavar="STEPS",
        help="Time so many steps instead, by their parts; the run is left alone.",
    ),
]
_ProfileOut = Annotated[
    Path | None, typer.Option(metavar="FILE", help="CSV file for --profile's table.")
]


def train(
    name: Annotated[str, typer.Argument(help="Dataset: a folder below --cache.")],
    cache: Cache = Path("mednext_cache"),
    recipe: _Recipe = None,
    network: _Network = None,
    model: _Model = None,
    kernel: _Kernel = None,
    fold: _Fold = "0",
    splits: _Splits = None,
    init: _Init = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    restart: Annotated[bool, typer.Option(help="Begin anew, whatever is there.")] = False,
    extend: _Extend = False,
    device: Device = "auto",
    operators: Operators = None,
    budget: Budget = None,
    device_sheet: DeviceSheet = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's value; repeatable."),
    ] = None,
    profile: _Profile = None,
    profile_out: _ProfileOut = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train folds, resume them where they stopped, and validate them on whole cases.

    The run is in RUNS/NAME/NETWORK/foldN (NETWORK: S-k3, or S-k3-w16 where the width is not 32; of
    others than MedNeXt their name, and what is not the default): checkpoints, recipe.toml, log.csv,
    progress.png, tensorboard/ and validation/ with label maps and scores. Of several folds
    cross_validation.csv beside them has Dice by region and fold, its mean and spread. The same
    command goes on where it stopped; a fold that fails does not stop the others.

    Example: mednext train kits19 --model S --kernel 3 --fold 0
    """
    from mednext_cli.networks.recipes import load_recipe
    from mednext_cli.settings.recipe_files import recipe_for
    from mednext_cli.training.splits import parse_folds
    from mednext_cli.training.train import TrainSpec

    folds, kernels = parse_folds(fold), (kernel or "").split(",")
    options = {
        "--network": ("model.network", network),
        "--model": ("model.mednext.size", model),
        "--kernel": ("model.mednext.kernel", _number(kernels[0]) if kernel else None),
        "--operators": ("model.operators", operators),
    }
    spec = TrainSpec(
        cache=cache / name,
        recipe=load_recipe(recipe or recipe_for(network), settings or (), options),
        fold=folds[0] if folds else "0",
        runs=runs,
        init=init,
        restart=restart,
        extend=extend,
        device=device,
        splits=splits,
    )
    if device_sheet is not None and budget is None:
        raise SettingsError("--device-sheet is for --budget", "Add --budget, or leave it out.")
    if budget is not None:
        spec = _within(budget, device_sheet or "", spec, chosen=(network, model, kernel))
    if profile_out is not None and profile is None:
        raise SettingsError("--profile-out is for --profile", "Add --profile 20, or leave it out.")
    if profile is not None:
        _profile(spec, profile, profile_out)
    elif len(kernels) > 1:
        _train_kernels(spec, kernels, folds)
    elif folds is None or len(folds) > 1:
        _train_folds(spec, folds)
    else:
        _train_fold(spec)


def _profile(spec: "TrainSpec", steps: int, out: Path | None) -> None:
    from mednext_cli.training.columns import PROFILE
    from mednext_cli.training.profile import ProfileSpec, profile, write_profile

    rows = profile(ProfileSpec(spec, steps))
    print_table(PROFILE.names, [PROFILE.cells(vars(row)) for row in rows])
    if out is not None:
        write_profile(out, rows)


def _within(
    budget: str, device_sheet: str, spec: "TrainSpec", chosen: tuple[str | None, ...]
) -> "TrainSpec":
    """With the largest network that the budget affords."""
    from dataclasses import replace

    from mednext_cli.networks.choice import choose_network
    from mednext_cli.training.afford import AffordSpec, afford
    from mednext_cli.training.kept_choice import choice_file, find_choice, keep_choice

    if any(chosen):
        raise SettingsError(
            "--budget chooses the network", "Leave out --network, --model and --kernel."
        )
    if spec.extend:
        raise SettingsError(
            "--budget affords a network for the epochs of the recipe, and --extend makes them more",
            "Name the network with --model and --kernel instead.",
        )
    asked = AffordSpec(spec.recipe, spec.cache, budget, device_sheet, spec.device)
    file = choice_file(spec.runs, asked)
    before = None if spec.restart else find_choice(file, spec.recipe)
    if before is not None:
        label = choose_network(before.model).label
        report(f"{label}, as an earlier call chose ({file}); --restart chooses anew")
        return replace(spec, recipe=before)
    result = afford(asked)
    show_choice(result.choice)
    keep_choice(file, result.recipe, budget)
    return replace(spec, recipe=result.recipe)


def _number(text: str) -> int | str:
    """What is no number is refused with the rest of the recipe."""
    return int(text) if text.isdecimal() else text


def _train_fold(spec: "TrainSpec") -> None:
    from mednext_cli.training.cross_validation import train_one_fold

    result, table = train_one_fold(spec)
    _report(result)
    if table is not None:
        report(f"{table}: this fold and those that were finished before by its recipe")


def _train_folds(spec: "TrainSpec", folds: tuple[str, ...] | None) -> None:
    from mednext_cli.training.cross_validation import CrossValidationSpec, cross_validate

    result = cross_validate(CrossValidationSpec(spec, folds))
    _report_folds(result, whole=folds is None)
    result.raise_failed()


def _train_kernels(spec: "TrainSpec", kernels: list[str], folds: tuple[str, ...] | None) -> None:
    from mednext_cli.training.growing import GrowKernelsSpec, grow_kernels, parse_kernels

    result = grow_kernels(GrowKernelsSpec(spec, parse_kernels(",".join(kernels)), folds))
    for stage in result.stages:
        _report_folds(stage, whole=folds is None)
    result.raise_failed()


def _report_folds(result: "CrossValidationResult", *, whole: bool) -> None:
    """One fold as `mednext train` of it, several as a table.

    Args:
        result: of one network.
        whole: all folds were asked for.
    """
    if len(result.runs) + len(result.failed) == 1:
        for run in result.runs.values():
            _report(run)
        return
    if result.rows:
        names = [f"fold{fold}" for fold in result.rows[0].dice]
        header = ("region", *names, "mean", "deviation of folds", "deviation of cases")
        rows = [
            (
                row.region,
                *row.dice.values(),
                row.mean,
                row.standard_deviation_folds,
                row.standard_deviation_cases,
            )
            for row in result.rows
        ]
        report_table(header, rows, title=f"{result.folder}: Dice, whole cases")
    if result.runs:
        some = "" if whole and not result.failed else f" --folds {','.join(result.runs)}"
        folder = shlex.quote(str(result.folder))
        report(f"next: mednext predict SCANS --model {folder}{some} --out predictions/")


def _report(result: "TrainResult") -> None:
    from mednext_cli.foundation.progress import format_seconds

    report(f"{result.folder}: trained for {format_seconds(result.seconds)}")
    if result.dice:
        report_table(("region", "dice"), list(result.dice.items()), title="validation, whole cases")
    folder = shlex.quote(str(result.folder))
    report(f"next: mednext predict SCANS --model {folder} --out predictions/")
