"""report.html of an experiment: its arms, their plots and tests, as one page without network."""

from collections.abc import Sequence
from pathlib import Path

from mednext_cli.evaluation.pages.page import render_page, show_number
from mednext_cli.evaluation.pages.sortable import (
    Cell,
    SortableTable,
    count_cell,
    number_cell,
    probability_cell,
)
from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.experiments.arm_rows import ArmRow
from mednext_cli.experiments.comparison import ComparisonRow
from mednext_cli.experiments.layout import RunKey
from mednext_cli.experiments.notes import FailedNote, WholeNote
from mednext_cli.experiments.plan import ExperimentPlan, PlannedRun
from mednext_cli.experiments.report_tables import (
    NOT_RUN,
    difference_cell,
    interval_cell,
    or_nothing,
    pair_table,
    transfer_tables,
)
from mednext_cli.experiments.scatter import Point, ScatterPlot, plot_scatter
from mednext_cli.experiments.scores import FoldScores
from mednext_cli.experiments.transfer_results import TransferResults
from mednext_cli.foundation.files import write_text
from mednext_cli.settings.experiment import ExperimentRecipe


def write_experiment_report(
    path: Path,
    plan: ExperimentPlan,
    arms: Sequence[ArmRow],
    comparison: Sequence[ComparisonRow],
    folds: Sequence[FoldScores],
    transfer: TransferResults,
) -> None:
    """Write the page.

    Args:
        path: of the page.
        plan: with what became of each run.
        arms: a row an arm.
        comparison: the rows of comparison.csv.
        folds: scores of the whole runs.
        transfer: what the arms are on the other dataset.

    Raises:
        StorageError: the disk refuses.
    """
    text = render_page(
        "experiment.html.jinja",
        package="mednext_cli.experiments",
        name=plan.out.path.name,
        experiment=plan.experiment,
        facts=_facts(plan, folds),
        warnings=differing_machines(plan),
        failed={run.key.name: run.note.reason for run in plan.runs
                if isinstance(run.note, FailedNote)},
        plots=[plot for plot in _plots(plan, folds) if plot is not None],
        tables=[
            _arm_table(plan, arms),
            pair_table("Arms against each other", comparison),
            *transfer_tables(transfer),
            _run_table(plan, folds),
        ],
    )  # fmt: skip
    write_text(path, text)


def differing_machines(plan: ExperimentPlan) -> list[str]:
    """What makes minutes of the runs so far no equal minutes, a sentence each."""
    notes = [run.note for run in plan.runs if isinstance(run.note, WholeNote)]
    found = []
    for what, values in (
        ("devices", {note.device for note in notes}),
        ("numbers of threads", {str(note.threads) for note in notes}),
    ):
        if len(values) > 1:
            found.append(
                f"Runs were trained on different {what} ({', '.join(sorted(values))}): their "
                "minutes are not equal."
            )
    return found


def spell_budget(experiment: ExperimentRecipe) -> str:
    """The budget of an arm, for people."""
    budget = experiment.budget
    if budget.minutes is not None:
        return f"{budget.minutes:g} minutes of steps"
    return "1 epoch" if budget.epochs == 1 else f"{budget.epochs:,} epochs"


def _facts(plan: ExperimentPlan, folds: Sequence[FoldScores]) -> dict[str, str]:
    experiment = plan.experiment
    whole = sum(run.is_whole for run in plan.runs)
    cases = ", ".join(f"{len(fold.cases)} of fold {fold.fold}" for fold in folds)
    return {
        "Dataset": experiment.dataset,
        "Budget of an arm": f"{spell_budget(experiment)}, unless it says otherwise",
        "Seeds": ", ".join(map(str, experiment.seeds)),
        "Folds": ", ".join(map(str, experiment.folds)),
        "Runs": f"{whole} of {len(plan.runs)} are whole",
        "Cases scored": cases or "none yet",
        "Tests": "two-sided Wilcoxon signed-rank over cases, averaged over seeds first; Holm's "
        "correction over all pairs of a metric and region",
        "Intervals": "95 %, 2,000 bootstrap samples of the cases; the spread over seeds stands "
        "apart",
    }


def _plots(plan: ExperimentPlan, folds: Sequence[FoldScores]) -> list[ScatterPlot | None]:
    minutes = {run.key: run.charged_minutes for run in plan.runs}
    operations = {run.key: run.needs.multiply_adds / 1e9 for run in plan.runs}
    return [
        plot_scatter(
            "Dice against charged minutes",
            ("charged minutes of training", "mean Dice"),
            _points(plan, folds, minutes),
        ),
        plot_scatter(
            "Dice against multiply-adds",
            ("multiply-adds of a patch (G), logarithmic", "mean Dice"),
            _points(plan, folds, operations),
            logarithmic=True,
        ),
    ]


def _points(
    plan: ExperimentPlan, folds: Sequence[FoldScores], costs: dict[RunKey, float]
) -> dict[str, list[Point]]:
    points: dict[str, list[Point]] = {name: [] for name in plan.arms}
    for fold in folds:
        for key in fold.runs:
            points[key.arm].append((key.name, costs[key], fold.means(key, OVERALL)["dice"]))
    return points


def _arm_table(plan: ExperimentPlan, arms: Sequence[ArmRow]) -> SortableTable:
    first = arms[0].arm
    heads = (
        "arm", "what", "network", "runs", "parameters (M)", "multiply-adds (G)",
        "charged minutes", "Dice", "spread over seeds", "surface Dice", f"Dice less {first}'s",
        "95 % interval", "p after Holm",
    )  # fmt: skip
    rows = tuple(
        (
            Cell(row.arm),
            Cell(plan.experiment.arms[row.arm].description),
            Cell(row.network),
            Cell(f"{row.whole} of {row.total}", f"{row.whole}"),
            or_nothing(row.parameters, f"{row.parameters / 1e6:.3g}"),
            or_nothing(row.multiply_adds, f"{row.multiply_adds / 1e9:.3g}"),
            or_nothing(row.charged_minutes, f"{row.charged_minutes:.1f}"),
            number_cell(row.dice),
            number_cell(row.spread),
            number_cell(row.surface_dice),
            *_against(row.against),
        )
        for row in arms
    )
    note = (
        "Dice: mean over seeds of the mean over cases. Charged minutes: of training steps, with "
        "those of the arm it starts from."
    )
    return SortableTable("Arms", note, heads, rows)


def _against(row: ComparisonRow | None) -> tuple[Cell, Cell, Cell]:
    if row is None:
        return Cell("–", ""), Cell("–", ""), Cell("–", "")
    return difference_cell(row.difference), interval_cell(row), probability_cell(row.p_holm)


def _run_table(plan: ExperimentPlan, folds: Sequence[FoldScores]) -> SortableTable:
    heads = ("arm", "seed", "fold", "state", "Dice", "minutes", "charged", "GiB", "steps", "device")
    by_fold = {fold.fold: fold for fold in folds}
    rows = tuple(_run_cells(run, by_fold.get(run.key.fold)) for run in plan.runs)
    return SortableTable("Runs", "What is not run yet has no numbers.", heads, rows)


def _run_cells(run: PlannedRun, fold: FoldScores | None) -> tuple[Cell, ...]:
    key, note = run.key, run.note
    which = (Cell(key.arm), count_cell(key.seed), count_cell(key.fold))
    if not isinstance(note, WholeNote) or fold is None:
        state = "failed" if isinstance(note, FailedNote) else NOT_RUN
        return (*which, Cell(state), *(Cell("–", "") for _ in range(5)), Cell(""))
    return (
        *which,
        Cell("whole"),
        Cell(show_number(dice := fold.means(key, OVERALL)["dice"]), f"{dice:.6g}"),
        or_nothing(note.minutes, f"{note.minutes:.2f}"),
        or_nothing(run.charged_minutes, f"{run.charged_minutes:.2f}"),
        or_nothing(note.peak_gib, f"{note.peak_gib:.2f}"),
        Cell(f"{note.steps:,}", str(note.steps)),
        Cell(note.device),
    )
