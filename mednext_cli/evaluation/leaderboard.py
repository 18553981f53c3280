"""Rank methods by their cases.csv: means, ranks within cases, tests, and how stable it all is."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mednext_cli.evaluation.choices import Aggregate, Correction, MissingCase, UndefinedScore
from mednext_cli.evaluation.pages.leaderboard_report import write_leaderboard_report
from mednext_cli.evaluation.ranking.columns import CONSENSUS, LEADERBOARD, PAIRWISE
from mednext_cli.evaluation.ranking.methods import Comparison, read_methods
from mednext_cli.evaluation.ranking.rows import (
    ConsensusRow,
    LeaderboardRow,
    PairwiseRow,
    RankedTask,
    consensus_rows,
    pair_rows,
    rank_rows,
)
from mednext_cli.evaluation.ranking.task_ranking import Rules, Task, rank_task
from mednext_cli.evaluation.tables.bootstrap import draw_samples
from mednext_cli.evaluation.tables.columns import find_metric
from mednext_cli.foundation.columns import LARGER
from mednext_cli.foundation.errors import SettingsError, check_choice
from mednext_cli.foundation.files import make_folder

_SAMPLES, _SEED = 1000, 0


@dataclass(frozen=True)
class LeaderboardSpec:
    """What to rank.

    Attributes:
        tables: cases.csv, or the folder that holds it, by name of the method; METHOD@DATASET
            where methods are compared on several datasets.
        out: folder for the tables and the report.
        metrics: columns of cases.csv to rank by.
        missing: a case that a method lacks: "drop" leaves it out for all, "worst" scores it so.
        aggregate: "mean" or "median", over cases.
        correction: of the tests that rank by significance, "holm" or "none".
        undefined: an undefined score: "last" in its case, or "drop" the case's ranks.
    """

    tables: Mapping[str, Path]
    out: Path
    metrics: tuple[str, ...] = ("dice", "surface_dice")
    missing: MissingCase = "drop"
    aggregate: Aggregate = "mean"
    correction: Correction = "holm"
    undefined: UndefinedScore = "last"

    @property
    def rules(self) -> Rules:
        """How to rank."""
        return Rules(self.aggregate, self.correction, self.undefined)


@dataclass(frozen=True, eq=False)
class LeaderboardResult:
    """What was found and where it stands.

    Attributes:
        folder: holds the tables and the report.
        rows: of leaderboard.csv; by dataset, metric and region, the best method first.
        pairs: of pairwise.csv.
        consensus: of consensus.csv.
        tasks: every ranking with its scores, in the order of the rows.
    """

    folder: Path
    rows: tuple[LeaderboardRow, ...]
    pairs: tuple[PairwiseRow, ...]
    consensus: tuple[ConsensusRow, ...]
    tasks: tuple[RankedTask, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases that counted, DATASET/CASE where there are several datasets."""
        by_dataset = {task.dataset: task.comparison.cases for task in self.tasks}
        return tuple(f"{dataset}/{case}" if dataset else case
                     for dataset, cases in by_dataset.items() for case in cases)  # fmt: skip


def leaderboard(spec: LeaderboardSpec) -> LeaderboardResult:
    """Rank the methods by every metric, in every region and overall, and write the tables.

    Raises:
        SettingsError: fewer than two methods, an unknown metric, or a word with no meaning.
        DatasetError: a cases.csv cannot be used, or the methods share nothing.
        StorageError: the tables cannot be written.
    """
    _check_settings(spec)
    metrics = [find_metric(name) for name in dict.fromkeys(spec.metrics)]
    drop = spec.missing == "drop"
    by_dataset = _by_dataset(spec.tables)
    comparisons = {
        name: read_methods(tables, metrics, drop_missing=drop)
        for name, tables in by_dataset.items()
    }
    tasks = tuple(
        task
        for name, comparison in comparisons.items()
        for task in _rank_tasks(name, comparison, spec.rules)
    )
    result = LeaderboardResult(
        folder=make_folder(spec.out),
        rows=tuple(row for task in tasks for row in rank_rows(task)),
        pairs=tuple(row for task in tasks for row in pair_rows(task, spec.rules)),
        consensus=tuple(consensus_rows(tasks)),
        tasks=tasks,
    )
    _write(result, spec)
    return result


def _write(result: LeaderboardResult, spec: LeaderboardSpec) -> None:
    folder = result.folder
    LEADERBOARD.write(folder / "leaderboard.csv", map(asdict, result.rows))
    PAIRWISE.write(folder / "pairwise.csv", map(asdict, result.pairs))
    CONSENSUS.write(folder / "consensus.csv", map(asdict, result.consensus))
    write_leaderboard_report(
        folder / "leaderboard.html",
        result.tasks,
        result.rows,
        result.pairs,
        result.consensus,
        spec.rules,
    )


def _check_settings(spec: LeaderboardSpec) -> None:
    if not spec.metrics:
        raise SettingsError("no metric to rank by", "Name columns: --metric dice,hd95.")
    check_choice("--missing", spec.missing, MissingCase)
    check_choice("--aggregate", spec.aggregate, Aggregate)
    check_choice("--p-adjust", spec.correction, Correction)
    check_choice("--undefined", spec.undefined, UndefinedScore)


def _by_dataset(tables: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Tables by dataset and method, the methods in the same order for all.

    Raises:
        SettingsError: fewer than two methods, or a method without a table of a dataset.
    """
    named = {tuple(name.partition("@")[::2]): path for name, path in tables.items()}
    methods = list(dict.fromkeys(method for method, _ in named))
    datasets = list(dict.fromkeys(dataset for _, dataset in named))
    if len(methods) < 2:
        found = f"only {methods[0]}" if methods else "no methods"
        raise SettingsError(f"{found} to rank", "Give NAME=cases.csv of two methods or more.")
    for method in methods:
        for dataset in datasets:
            if (method, dataset) not in named:
                lacking = f"dataset {dataset}" if dataset else "a dataset's name"
                raise SettingsError(
                    f"{method} has no cases.csv of {lacking}",
                    "Give NAME@DATASET=cases.csv of every method for every dataset.",
                )
    return {dataset: {method: named[method, dataset] for method in methods} for dataset in datasets}


def _rank_tasks(dataset: str, comparison: Comparison, rules: Rules) -> Iterator[RankedTask]:
    samples = draw_samples(len(comparison.cases), _SAMPLES, _SEED)
    for metric, column in enumerate(comparison.metrics):
        for region in (*range(len(comparison.regions)), None):
            task = Task(comparison.of_regions(metric, region), column.better == LARGER)
            ranking = rank_task(task, samples, rules)
            yield RankedTask(dataset, comparison, metric, region, ranking)
