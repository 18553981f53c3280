"""`mednext leaderboard`: methods ranked by their cases.csv."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.options import OutputFolder, Quiet, Verbose
from mednext_cli.commands.tables import report, report_table
from mednext_cli.evaluation.choices import Aggregate, Correction, MissingCase, UndefinedScore

if TYPE_CHECKING:
    from mednext_cli.evaluation.leaderboard import LeaderboardResult
    from mednext_cli.evaluation.ranking.rows import LeaderboardRow


def leaderboard(
    methods: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=cases.csv...",
            help="One per method; NAME@DATASET=cases.csv joins several datasets.",
        ),
    ],
    metric: Annotated[
        str,
        typer.Option(help="Columns of cases.csv to rank by, with commas between; _mm may go."),
    ] = "dice,surface_dice",
    missing: Annotated[
        MissingCase,
        typer.Option(help="A case a method lacks: drop leaves it out for all, worst scores it so."),
    ] = "drop",
    aggregate: Annotated[Aggregate, typer.Option(help="Over cases.")] = "mean",
    p_adjust: Annotated[
        Correction, typer.Option(help="Correction of the tests that rank by significance.")
    ] = "holm",
    undefined: Annotated[
        UndefinedScore,
        typer.Option(help="An undefined score: last in its case, or drop the case's ranks."),
    ] = "last",
    out: OutputFolder = Path("leaderboard"),
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Rank methods by mean, by ranks within cases and by significance, as challengeR does.

    Writes leaderboard.csv (ranks with bootstrap intervals and stability), pairwise.csv (Wilcoxon
    signed-rank tests with Holm's correction), consensus.csv (regions and datasets joined),
    leaderboard.html, and its plots as rank_plot.svg and dot_plot.svg.

    Example: mednext leaderboard k3=scores/k3/cases.csv k5=scores/k5/cases.csv --out leaderboard
    """
    from mednext_cli.evaluation.leaderboard import LeaderboardSpec
    from mednext_cli.evaluation.leaderboard import leaderboard as run

    metrics = tuple(name for name in (part.strip() for part in metric.split(",")) if name)
    spec = LeaderboardSpec(
        _by_name(methods),
        out,
        metrics,
        missing=missing,
        aggregate=aggregate,
        correction=p_adjust,
        undefined=undefined,
    )
    result = run(spec)
    if quiet:
        return
    _print_ranks(result, aggregate)
    report(
        f"{result.folder}: leaderboard.csv, pairwise.csv, consensus.csv, "
        "leaderboard.html, rank_plot.svg, dot_plot.svg"
    )


def _print_ranks(result: "LeaderboardResult", aggregate: Aggregate) -> None:
    """One row a metric, region and method; a column of datasets where there are several."""
    several = any(row.dataset for row in result.rows)

    def interval(row: "LeaderboardRow") -> str:
        return "-" if isnan(row.rank_low) else f"{row.rank_low:g} to {row.rank_high:g}"

    header = ("metric", "region", "rank", "method", aggregate, "rank interval", "wins")
    rows = [
        (row.metric, row.region, row.rank, row.method, row.mean,
         interval(row), row.wins, *((row.dataset,) if several else ()))
        for row in result.rows
    ]  # fmt: skip
    header = (*header, *(("dataset",) if several else ()))
    report_table(header, rows, title=f"{len(result.cases)} cases")


def _by_name(methods: list[str]) -> dict[str, Path]:
    """Read NAME=PATH; raises `SettingsError` where one is malformed or a name occurs twice."""
    from mednext_cli.foundation.errors import SettingsError

    tables: dict[str, Path] = {}
    for text in methods:
        name, equals, path = text.partition("=")
        if not (name.partition("@")[0].strip() and equals and path):
            raise SettingsError(f"{text!r} is not NAME=cases.csv", "Write ours=scores/cases.csv.")
        if name.strip() in tables:
            raise SettingsError(f"the name {name.strip()} is given twice", "Rename one of them.")
        tables[name.strip()] = Path(path)
    return tables
