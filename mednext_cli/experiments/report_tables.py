"""Tables of an experiment's page that compare arms: on its dataset, and on another one."""

from collections.abc import Iterator, Sequence
from math import isnan

from mednext_cli.evaluation.pages.page import spell
from mednext_cli.evaluation.pages.sortable import (
    Cell,
    SortableTable,
    count_cell,
    number_cell,
    probability_cell,
)
from mednext_cli.evaluation.tables.columns import find_metric
from mednext_cli.experiments.comparison import ComparisonRow
from mednext_cli.experiments.transfer_results import TransferResults, summarise_transfer

NOT_RUN = "not run"


def or_nothing(value: float, text: str) -> Cell:
    """A number as it is shown, or a dash where there is none."""
    return Cell("–", "") if isnan(value) else Cell(text, f"{value:.6g}")


def difference_cell(value: float) -> Cell:
    """Of two scores, with its sign."""
    return or_nothing(value, f"{value:+.4f}")


def interval_cell(row: ComparisonRow) -> Cell:
    """Of the difference, at 95 %."""
    return or_nothing(row.ci95_low, f"{row.ci95_low:+.4f} to {row.ci95_high:+.4f}")


def pair_table(title: str, comparison: Sequence[ComparisonRow]) -> SortableTable:
    """All pairs of arms, by metric and region.

    Args:
        title: of the table.
        comparison: the rows.
    """
    heads = (
        "metric", "region", "arm", "against", "cases", "seeds", "difference", "95 % interval",
        "spread over seeds", "better cases", "worse cases", "p", "p after Holm",
    )  # fmt: skip
    rows = tuple(
        (
            Cell(spell(find_metric(row.metric))),
            Cell(row.region),
            Cell(row.arm),
            Cell(row.against),
            count_cell(row.cases) if row.cases else Cell(NOT_RUN, ""),
            count_cell(row.seeds),
            difference_cell(row.difference),
            interval_cell(row),
            or_nothing(row.spread_over_seeds, f"{row.spread_over_seeds:.4f}"),
            count_cell(row.better_cases),
            count_cell(row.worse_cases),
            probability_cell(row.p),
            probability_cell(row.p_holm),
        )
        for row in comparison
    )
    note = "Is the arm another than the one it is held against? Cases are paired."
    return SortableTable(title, note, heads, rows)


def transfer_tables(transfer: TransferResults) -> Iterator[SortableTable]:
    """What the arms are on the other dataset, and against each other there; none without one."""
    if not transfer.rows:
        return
    name = transfer.rows[0].dataset
    heads = ("arm", "training cases", "runs", "Dice", "spread over seeds", "surface Dice")
    rows = tuple(
        (
            Cell(row.arm),
            count_cell(row.training_cases),
            Cell(f"{row.whole} of {row.total}", f"{row.whole}"),
            number_cell(row.dice),
            number_cell(row.spread),
            number_cell(row.surface_dice),
        )
        for row in summarise_transfer(transfer.rows)
    )
    note = "Training cases: of that dataset, that the arm was fine-tuned on; 0: as it is."
    yield SortableTable(f"On {name}", note, heads, rows)
    for cases, comparison in transfer.comparison.items():
        tuned = f"fine-tuned on {cases} of its cases" if cases else "as they are"
        yield pair_table(f"On {name}, {tuned}: arms against each other", comparison)
