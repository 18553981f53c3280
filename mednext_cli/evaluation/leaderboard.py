"""Rank methods by their cases.csv: means, ranks within cases, tests, and how stable it all is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from mednext_cli.evaluation.bootstrap import draw_samples
from mednext_cli.evaluation.columns import (
    CONSENSUS_COLUMNS,
    LARGER,
    LEADERBOARD_COLUMNS,
    PAIRWISE_COLUMNS,
    find_metric,
)
from mednext_cli.evaluation.methods import Comparison, read_methods
from mednext_cli.evaluation.ranking import Ranks, consensus, correct_pairs
from mednext_cli.evaluation.summary import OVERALL
from mednext_cli.evaluation.tables_csv import write_table
from mednext_cli.evaluation.task_ranking import (
    AGGREGATES,
    CORRECTIONS,
    RANKINGS,
    UNDEFINED_CHOICES,
    Rules,
    Task,
    TaskRanking,
    rank_task,
)
from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.foundation.files import make_folder

MISSING_CHOICES = ("drop", "worst")
ALL_METRICS = "all"
_SAMPLES, _SEED = 1000, 0
_BY_MEAN, _BY_RANKS, _BY_TESTS = RANKINGS


@dataclass(frozen=True)
class LeaderboardSpec:
    """What to rank.

    Attributes:
        tables: cases.csv, or the folder that holds it, by name of the method; METHOD@DATASET
            where methods are compared on several datasets.
        out: folder for the tables.
        metrics: columns of cases.csv to rank by.
        missing: a case that a method lacks: "drop" leaves it out for all, "worst" scores it so.
        aggregate: "mean" or "median", over cases.
        correction: of the tests that rank by significance, "holm" or "none".
        undefined: an undefined score: "last" in its case, or "drop" the case's ranks.
    """

    tables: Mapping[str, Path]
    out: Path
    metrics: tuple[str, ...] = ("dice", "surface_dice")
    missing: str = "drop"
    aggregate: str = "mean"
    correction: str = "holm"
    undefined: str = "last"

    @property
    def rules(self) -> Rules:
        """How to rank."""
        return Rules(self.aggregate, self.correction, self.undefined)


@dataclass(frozen=True)
class LeaderboardRow:
    """One row of leaderboard.csv; `columns.LEADERBOARD_COLUMNS` says what each field means."""

    metric: str
    region: str
    method: str
    cases: int
    mean: float
    rank: int
    mean_of_ranks: float
    rank_then_aggregate: int
    wins: int
    significance_rank: int
    rank_low: float
    rank_high: float
    undefined: int
    as_worst: int
    rank_then_aggregate_low: float
    rank_then_aggregate_high: float
    significance_rank_low: float
    significance_rank_high: float
    rank_tau: float
    rank_then_aggregate_tau: float
    significance_rank_tau: float
    dataset: str


@dataclass(frozen=True)
class PairwiseRow:
    """One row of pairwise.csv; `columns.PAIRWISE_COLUMNS` says what each field means."""

    metric: str
    region: str
    method: str
    other: str
    cases: int
    mean_difference: float
    better_cases: int
    worse_cases: int
    p: float
    p_holm: float
    significant: int
    dataset: str


@dataclass(frozen=True)
class ConsensusRow:
    """One row of consensus.csv; `columns.CONSENSUS_COLUMNS` says what each field means."""

    ranking: str
    metric: str
    method: str
    tasks: int
    mean_rank: float
    consensus_rank: float


@dataclass(frozen=True, eq=False)
class RankedTask:
    """One metric in one region of one dataset, or in all its regions.

    Attributes:
        dataset: its name, "" where there is only one.
        comparison: the methods' scores.
        metric: place among the metrics.
        region: place among the regions; None for all together.
        ranking: what came of it.
    """

    dataset: str
    comparison: Comparison
    metric: int
    region: int | None
    ranking: TaskRanking

    @property
    def metric_name(self) -> str:
        """The column ranked by."""
        return self.comparison.metrics[self.metric].name

    @property
    def region_name(self) -> str:
        """The region, or overall."""
        return OVERALL if self.region is None else self.comparison.regions[self.region]


@dataclass(frozen=True, eq=False)
class LeaderboardResult:
    """What was found and where it stands.

    Attributes:
        folder: holds the tables.
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
        by_dataset = {one.dataset: one.comparison.cases for one in self.tasks}
        return tuple(f"{dataset}/{case}" if dataset else case
                     for dataset, cases in by_dataset.items() for case in cases)  # fmt: skip


def rank_methods(spec: LeaderboardSpec) -> LeaderboardResult:
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
        task for name, one in comparisons.items() for task in _rank_tasks(name, one, spec.rules)
    )
    result = LeaderboardResult(
        folder=make_folder(spec.out),
        rows=tuple(row for task in tasks for row in _rows(task)),
        pairs=tuple(row for task in tasks for row in _pairs(task, spec.rules)),
        consensus=tuple(_join(tasks)),
        tasks=tasks,
    )
    _write(result, spec)
    return result


def _write(result: LeaderboardResult, spec: LeaderboardSpec) -> None:
    folder = result.folder
    write_table(folder / "leaderboard.csv", LEADERBOARD_COLUMNS, map(asdict, result.rows))
    write_table(folder / "pairwise.csv", PAIRWISE_COLUMNS, map(asdict, result.pairs))
    write_table(folder / "consensus.csv", CONSENSUS_COLUMNS, map(asdict, result.consensus))


def _check_settings(spec: LeaderboardSpec) -> None:
    if not spec.metrics:
        raise SettingsError("no metric to rank by", "Name columns: --metric dice,hd95.")
    choices = (
        ("--missing", spec.missing, MISSING_CHOICES),
        ("--aggregate", spec.aggregate, tuple(AGGREGATES)),
        ("--p-adjust", spec.correction, CORRECTIONS),
        ("--undefined", spec.undefined, UNDEFINED_CHOICES),
    )
    for option, given, known in choices:
        if given not in known:
            raise SettingsError(f"{option} {given}", nearest(given, dict.fromkeys(known)))


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
    return {one: {method: named[method, one] for method in methods} for one in datasets}


def _rank_tasks(dataset: str, comparison: Comparison, rules: Rules) -> Iterator[RankedTask]:
    samples = draw_samples(len(comparison.cases), _SAMPLES, _SEED)
    for metric, column in enumerate(comparison.metrics):
        for region in (*range(len(comparison.regions)), None):
            task = Task(comparison.of_regions(metric, region), column.better == LARGER)
            ranking = rank_task(task, samples, rules)
            yield RankedTask(dataset, comparison, metric, region, ranking)


def _rows(task: RankedTask) -> list[LeaderboardRow]:
    """All ranks of one task, the best first."""
    comparison, found = task.comparison, task.ranking
    chosen = slice(None) if task.region is None else slice(task.region, task.region + 1)
    undefined = comparison.undefined[:, chosen, task.metric].sum(axis=(0, 1))
    intervals = {name: found.interval(name) for name in RANKINGS}
    taus = {name: found.stability(name) for name in RANKINGS}
    rows = [
        LeaderboardRow(
            metric=task.metric_name,
            region=task.region_name,
            method=name,
            cases=len(comparison.cases),
            mean=float(found.aggregated[m]),
            mean_of_ranks=float(found.aggregated_ranks[m]),
            wins=int(found.wins[m]),
            undefined=int(undefined[m]),
            as_worst=comparison.as_worst[name],
            rank=int(found.ranks[_BY_MEAN][m]),
            rank_then_aggregate=int(found.ranks[_BY_RANKS][m]),
            significance_rank=int(found.ranks[_BY_TESTS][m]),
            rank_low=float(intervals[_BY_MEAN][0][m]),
            rank_high=float(intervals[_BY_MEAN][1][m]),
            rank_then_aggregate_low=float(intervals[_BY_RANKS][0][m]),
            rank_then_aggregate_high=float(intervals[_BY_RANKS][1][m]),
            significance_rank_low=float(intervals[_BY_TESTS][0][m]),
            significance_rank_high=float(intervals[_BY_TESTS][1][m]),
            rank_tau=taus[_BY_MEAN],
            rank_then_aggregate_tau=taus[_BY_RANKS],
            significance_rank_tau=taus[_BY_TESTS],
            dataset=task.dataset,
        )
        for m, name in enumerate(comparison.methods)
    ]
    return sorted(rows, key=lambda row: row.rank)


def _pairs(task: RankedTask, rules: Rules) -> list[PairwiseRow]:
    """The test of every ordered pair of methods."""
    holm = correct_pairs(task.ranking.p, "holm")
    methods = range(len(task.comparison.methods))
    return [_pair(task, pair, holm[pair], rules) for pair in permutations(methods, 2)]


def _pair(task: RankedTask, pair: tuple[int, int], p_holm: float, rules: Rules) -> PairwiseRow:
    comparison = task.comparison
    values = comparison.per_case(task.metric, task.region)
    difference = values[:, pair[0]] - values[:, pair[1]]
    difference = difference[np.isfinite(difference)]
    gain = difference if comparison.metrics[task.metric].better == LARGER else -difference
    return PairwiseRow(
        metric=task.metric_name,
        region=task.region_name,
        method=comparison.methods[pair[0]],
        other=comparison.methods[pair[1]],
        cases=len(difference),
        mean_difference=float(difference.mean()) if len(difference) else float("nan"),
        better_cases=int((gain > 0).sum()),
        worse_cases=int((gain < 0).sum()),
        p=float(task.ranking.p[pair]),
        p_holm=float(p_holm),
        significant=int(task.ranking.p_corrected[pair] <= rules.alpha),
        dataset=task.dataset,
    )


def _join(tasks: Sequence[RankedTask]) -> Iterator[ConsensusRow]:
    """The consensus of the regions of all datasets, by ranking and metric, the best first."""
    single = [task for task in tasks if task.region is not None]
    metrics = list(dict.fromkeys(task.metric_name for task in single))
    for ranking in RANKINGS:
        for metric in (*metrics, *((ALL_METRICS,) if len(metrics) > 1 else ())):
            ranks = [one.ranking.ranks[ranking] for one in single
                     if metric in (one.metric_name, ALL_METRICS)]  # fmt: skip
            yield from _consensus_rows(ranking, metric, np.stack(ranks), tasks[0].comparison)


def _consensus_rows(
    ranking: str, metric: str, ranks: Ranks, comparison: Comparison
) -> Iterable[ConsensusRow]:
    means, joined = consensus(ranks)
    rows = [
        ConsensusRow(ranking, metric, name, len(ranks), float(means[m]), float(joined[m]))
        for m, name in enumerate(comparison.methods)
    ]
    return sorted(rows, key=lambda row: row.consensus_rank)
