"""leaderboard.html: the rankings as one page without network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from mednext_cli.evaluation.pages.page import render_page, show_number, spell
from mednext_cli.evaluation.pages.plot_files import write_plots
from mednext_cli.evaluation.pages.plots import BoxPlot, plot_groups
from mednext_cli.evaluation.pages.rank_plot import RankPlot, plot_ranks
from mednext_cli.evaluation.pages.sortable import (
    Cell,
    SortableTable,
    count_cell,
    number_cell,
    probability_cell,
    range_cell,
)
from mednext_cli.evaluation.ranking.rows import (
    ALL_METRICS,
    ConsensusRow,
    LeaderboardRow,
    PairwiseRow,
    RankedTask,
)
from mednext_cli.evaluation.ranking.task_ranking import RANKINGS, Rules
from mednext_cli.evaluation.tables.columns import find_metric
from mednext_cli.foundation.columns import Column
from mednext_cli.foundation.files import write_text

_SPELLED = {
    "rank": "aggregate then rank",
    "rank_then_aggregate": "rank then aggregate",
    "significance_rank": "test then rank",
}


@dataclass(frozen=True)
class _Headline:
    """The best method by one metric."""

    name: str
    best: str
    detail: str


def write_leaderboard_report(
    path: Path,
    tasks: Sequence[RankedTask],
    rows: Sequence[LeaderboardRow],
    pairs: Sequence[PairwiseRow],
    joined: Sequence[ConsensusRow],
    rules: Rules,
) -> None:
    """Write leaderboard.html, and its plots as rank_plot.svg and dot_plot.svg beside it.

    Args:
        path: the page to write.
        tasks: every ranking with its scores.
        rows: of leaderboard.csv.
        pairs: of pairwise.csv.
        joined: of consensus.csv.
        rules: how methods were ranked.
    """
    overall = [task for task in tasks if task.region is None]
    dots = [plot for plot in map(_dots, overall) if plot is not None]
    ranks = [plot for task in overall for plot in _ranks(task)]
    page = render_page(
        "leaderboard.html.jinja",
        methods=tasks[0].comparison.methods,
        headlines=[_headline(task, rules) for task in overall],
        facts=_facts(tasks, rules),
        rank_plots=ranks,
        plots=dots,
        tables=[_consensus_table(joined), _rank_table(rows, rules), _pair_table(pairs, rules)],
    )
    write_text(path, page)
    write_plots(path.with_name("rank_plot.svg"), ranks)
    if dots:
        write_plots(path.with_name("dot_plot.svg"), dots)


def _headline(task: RankedTask, rules: Rules) -> _Headline:
    found = task.ranking
    ranks = found.ranks[RANKINGS[0]]
    names = task.comparison.methods
    best = [m for m in range(len(names)) if ranks[m] == 1]
    value = show_number(float(found.aggregated[best[0]]))
    tau = found.stability(RANKINGS[0])
    stability = "" if isnan(tau) else f"; stability {tau:.2f}"
    return _Headline(
        _title(task), ", ".join(names[m] for m in best), f"{rules.aggregate} {value}{stability}"
    )


def _title(task: RankedTask) -> str:
    metric = spell(find_metric(task.metric_name))
    return f"{task.dataset}: {metric}" if task.dataset else metric


def _facts(tasks: Sequence[RankedTask], rules: Rules) -> dict[str, str]:
    comparisons = {task.dataset: task.comparison for task in tasks}
    cases = [f"{name}: {len(comparison.cases)}" if name else str(len(comparison.cases))
             for name, comparison in comparisons.items()]  # fmt: skip
    worst = {name: number for comparison in comparisons.values()
             for name, number in comparison.as_worst.items() if number}  # fmt: skip
    undefined = sum(int(comparison.undefined.sum()) for comparison in comparisons.values())
    fate = "last in their case" if rules.undefined == "last" else "their cases rank nobody"
    return {
        "Methods": str(len(tasks[0].comparison.methods)),
        "Cases shared": ", ".join(cases),
        "Scored as the worst": ", ".join(
            f"{name}: {number} cases" for name, number in worst.items()
        )
        or "none",
        "Undefined or infinite scores": f"{undefined} (undefined: {fate}; infinite: 1 mm "
        "beyond the largest finite one)"
        if undefined
        else "none",
        "Over cases": rules.aggregate,
        "Tests": "one-sided Wilcoxon signed-rank, "
        + ("Holm's correction" if rules.correction == "holm" else "uncorrected")
        + f", level {rules.alpha:g}",
        "Intervals": "95 %, 1,000 bootstrap samples of the cases",
    }


def _ranks(task: RankedTask) -> Iterable[RankPlot]:
    for ranking in RANKINGS:
        yield plot_ranks(
            f"{_title(task)}, {_SPELLED[ranking]}",
            task.comparison.methods,
            task.ranking.ranks[ranking],
            task.ranking.sampled[ranking],
        )


def _dots(task: RankedTask) -> BoxPlot | None:
    """Every case's score by method, the best method on top."""
    column: Column = task.comparison.metrics[task.metric]
    values = task.comparison.per_case(task.metric, None)
    names = task.comparison.methods
    order = sorted(range(len(names)), key=lambda m: task.ranking.ranks[RANKINGS[0]][m])
    groups = {
        names[m]: [(case, float(values[c, m])) for c, case in enumerate(task.comparison.cases)]
        for m in order
    }
    return plot_groups(column, groups, title=_title(task))


def _consensus_table(joined: Sequence[ConsensusRow]) -> SortableTable:
    rows = tuple(
        (
            Cell("all metrics" if row.metric == ALL_METRICS else spell(find_metric(row.metric))),
            Cell(_SPELLED[row.ranking]),
            Cell(row.method),
            count_cell(row.consensus_rank),
            number_cell(row.mean_rank),
            count_cell(row.tasks),
        )
        for row in joined
    )
    note = "Mean rank over all regions of all datasets, and the rank of that."
    heads = ("metric", "ranking", "method", "consensus rank", "mean rank", "tasks")
    return SortableTable("Consensus", note, heads, rows)


def _rank_table(rows: Sequence[LeaderboardRow], rules: Rules) -> SortableTable:
    several = any(row.dataset for row in rows)
    cells = tuple(
        (
            *((Cell(row.dataset),) if several else ()),
            Cell(spell(find_metric(row.metric))),
            Cell(row.region),
            Cell(row.method),
            number_cell(row.mean),
            count_cell(row.rank),
            range_cell(row.rank_low, row.rank_high),
            count_cell(row.rank_then_aggregate),
            range_cell(row.rank_then_aggregate_low, row.rank_then_aggregate_high),
            count_cell(row.significance_rank),
            range_cell(row.significance_rank_low, row.significance_rank_high),
            count_cell(row.wins),
            number_cell(row.rank_tau),
        )
        for row in rows
    )
    heads = (
        *(("dataset",) if several else ()), "metric", "region", "method", rules.aggregate,
        "rank", "interval", "rank then aggregate", "interval", "test then rank", "interval",
        "wins", "stability (tau)",
    )  # fmt: skip
    return SortableTable("Rankings by region", "Ties share the better rank.", heads, cells)


def _pair_table(pairs: Sequence[PairwiseRow], rules: Rules) -> SortableTable:
    several = any(pair.dataset for pair in pairs)
    cells = tuple(
        (
            *((Cell(pair.dataset),) if several else ()),
            Cell(spell(find_metric(pair.metric))),
            Cell(pair.region),
            Cell(pair.method),
            Cell(pair.other),
            number_cell(pair.mean_difference),
            count_cell(pair.better_cases),
            count_cell(pair.worse_cases),
            probability_cell(pair.p),
            probability_cell(pair.p_holm),
            Cell("yes" if pair.significant else ""),
        )
        for pair in pairs
    )
    heads = (
        *(("dataset",) if several else ()), "metric", "region", "method", "against",
        "mean difference", "better cases", "worse cases", "p", "p after Holm", "significant",
    )  # fmt: skip
    by = "p after Holm" if rules.correction == "holm" else "p"
    note = (
        f"Is the method better than the other? Significant where {by} is at most {rules.alpha:g}."
    )
    return SortableTable("Tests between methods", note, heads, cells)
