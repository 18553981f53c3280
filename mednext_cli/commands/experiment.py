"""`mednext experiment`: arms, seeds and folds run and compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.options import Cache, Device, Quiet, Verbose
from mednext_cli.commands.tables import print_table, report, report_table

if TYPE_CHECKING:
    from mednext_cli.experiments.plan import ExperimentPlan
    from mednext_cli.experiments.run import ExperimentResult

_OF_RECIPE = "the recipe's"


def experiment(
    recipe: Annotated[str, typer.Argument(help="Shipped experiment or TOML file.")],
    cache: Cache = Path("mednext_cache"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            show_default="experiments/RECIPE",
            help="Folder of the runs and the results; the same one goes on.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run, and end.")
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="INDEX/TOTAL|auto",
            show_default="all parts",
            help="Do one part, from 0/TOTAL on; auto: that of this task of a Slurm array.",
        ),
    ] = None,
    arms: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", show_default="all", help="Run these, and those they start from."
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER,...", show_default=_OF_RECIPE, help="Run these, beside earlier ones."
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER,...", show_default=_OF_RECIPE, help="Run these, beside earlier ones."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler, like tcp://node1:8786, for the runs."),
    ] = None,
    device: Device = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a value of all arms' recipes; repeatable."
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train the arms of an experiment with all seeds and folds, and compare them.

    Each run has a process of its own and lies in OUT/runs/ARM/seedN as mednext train makes it. The
    same command goes on where it was stopped, and processes that are given the same OUT share the
    runs. OUT holds experiment.csv, comparison.csv (paired tests over cases) and report.html.

    Example: mednext experiment ablation/upkern_hippocampus --dry-run
    """
    from mednext_cli.experiments.plan import ExperimentSpec, plan_experiment
    from mednext_cli.experiments.transfer import check_transfer

    spec = ExperimentSpec(
        recipe=recipe,
        out=out,
        cache=cache,
        settings=tuple(settings or ()),
        seeds=_numbers("--seeds", seeds),
        folds=_numbers("--folds", folds),
        arms=None if arms is None else tuple(part.strip() for part in arms.split(",")),
        part=part,
        device=device,
        scheduler=scheduler,
    )
    plan = plan_experiment(spec)
    if dry_run:
        check_transfer(plan, spec)
        _print_plan(plan)
        return
    from mednext_cli.experiments.run import experiment as run

    _report_plan(plan)
    result = run(spec)
    _report(result)
    result.raise_failed()


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    from mednext_cli.foundation.errors import SettingsError

    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and len(word) <= 10 for word in words):
        raise SettingsError(f"{option} {text}: not numbers", f"Like {option} 0,1.")
    return tuple(map(int, words))


def _print_plan(plan: "ExperimentPlan") -> None:
    from mednext_cli.commands.experiment_tables import RUNS, hours, run_rows

    print_table(RUNS, run_rows(plan))
    _report_plan(plan)
    if told := hours(plan):
        report(told)


def _report_plan(plan: "ExperimentPlan") -> None:
    from mednext_cli.commands.experiment_tables import total

    report(total(plan))
    if plan.cache is None:
        report(
            f"no cache of {plan.experiment.dataset} yet: networks are told for one channel, three "
            "classes and the published patch"
        )


def _report(result: "ExperimentResult") -> None:
    from mednext_cli.commands.experiment_tables import COMPARED, compared_rows
    from mednext_cli.experiments.report import differing_machines

    report_table(COMPARED, compared_rows(result.arms), title=result.plan.experiment.description)
    for text in differing_machines(result.plan):
        report(text)
    if result.transfer.rows:
        from mednext_cli.commands.experiment_tables import TRANSFERRED, transfer_rows

        title = f"on {result.transfer.rows[0].dataset}"
        report_table(TRANSFERRED, transfer_rows(result.transfer.rows), title=title)
    if result.elsewhere:
        names = "; ".join(key.name for key in result.elsewhere)
        report(f"other processes are at work on {names}")
    further = ", transfer.csv, transfer_comparison.csv" if result.transfer.rows else ""
    report(f"{result.folder}: experiment.csv, comparison.csv, report.html{further}")
