"""Folds trained in turn, each in a run of its own, and what they come to together."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.memory import give_memory_back
from mednext_cli.foundation.outcomes import Outcome, attempt, raise_failures
from mednext_cli.training.distributed import find_processes
from mednext_cli.training.earlier_folds import find_alike
from mednext_cli.training.fold_scores import (
    RegionAcrossFolds,
    compare_folds,
    has_fold,
    write_fold_scores,
)
from mednext_cli.training.folds import check_splits_file
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.splits import name_folds
from mednext_cli.training.train import TrainResult, TrainSpec, check_run, train

TABLE = "cross_validation.csv"
_REMEDY = "Put that right and run the same command again: it goes on with what is not finished."
_OTHERS = "The others are finished."
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossValidationSpec:
    """Which folds to train, and how.

    Attributes:
        run: of every fold; its own `fold` is not used.
        folds: like "0", or "all" alone, which validates on no case; None takes all that the
            recipe, or the splits file, has.
    """

    run: TrainSpec
    folds: tuple[str, ...] | None = None


@dataclass(frozen=True)
class CrossValidationResult:
    """What became of the folds.

    Attributes:
        folder: of the network, which holds the folds' runs and cross_validation.csv.
        runs: the finished ones, by fold.
        rows: those of cross_validation.csv; none where no case validates.
        failed: what became of each of the others, by fold.
    """

    folder: Path
    runs: Mapping[str, TrainResult]
    rows: tuple[RegionAcrossFolds, ...]
    failed: Mapping[str, Outcome[TrainResult]]

    def raise_failed(self) -> None:
        """Raise `FailedCases` if some folds failed."""
        raise_failed_folds(self.failed.values(), len(self.runs) + len(self.failed))


def raise_failed_folds(outcomes: Iterable[Outcome[TrainResult]], total: int) -> None:
    """Raise `FailedCases` if some of the outcomes are failures.

    Args:
        outcomes: of folds.
        total: folds that were asked for.
    """
    raise_failures(outcomes, total, _REMEDY, _OTHERS, "folds")


def choose_folds(spec: CrossValidationSpec) -> tuple[str, ...]:
    """The folds by name.

    Raises:
        SettingsError: the splits file has none, or was named and is not there.
    """
    check_splits_file(spec.run.splits)
    if spec.folds is not None:
        return spec.folds
    return name_folds(spec.run.recipe.training.folds, spec.run.splits_file)


def cross_validate(spec: CrossValidationSpec) -> CrossValidationResult:
    """Train folds in turn, or resume them, and write cross_validation.csv beside their folders.

    A fold that is finished is not trained again. One that fails is said, and the others go on; see
    `CrossValidationResult.raise_failed`. What all would be refused for is, before the first begins.
    Folds that earlier calls finished by the same recipe are in the table, too.

    Raises:
        CacheError, SettingsError: as `train`, of any of the folds before anything is trained.
        StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; the same call carries on.
    """
    folds = choose_folds(spec)
    folders = {fold: check_run(replace(spec.run, fold=fold)) for fold in folds}
    outcomes = {}
    for fold, place in folders.items():
        if len(folds) > 1:
            logger.info("fold %s of %s", fold, ", ".join(folds))
        outcomes[fold] = _attempt(replace(spec.run, fold=fold), place)
        give_memory_back()
    runs = {fold: one.value for fold, one in outcomes.items() if one.value is not None}
    folder = next(iter(folders.values())).path.parent
    scored = {fold: RunFolder(run.folder) for fold, run in runs.items() if run.dice}
    rows = _write_table(folder, scored | find_alike(folder, scored, without=folds))
    failed = {fold: one for fold, one in outcomes.items() if one.value is None}
    return CrossValidationResult(folder, runs, rows, failed)


def train_one_fold(spec: TrainSpec) -> tuple[TrainResult, Path | None]:
    """Train one fold, and write cross_validation.csv if others were finished before it.

    A table that has this fold as it was by another recipe does not stay.

    Returns:
        The result, and the table; None where the fold is the only one, or has no cases to score.

    Raises:
        As `train`.
    """
    result = train(spec)
    folder = result.folder.parent
    scored = {spec.fold: RunFolder(result.folder)} if result.dice else {}
    others, table = find_alike(folder, scored, without=(spec.fold,)), folder / TABLE
    if not scored or not (others or has_fold(table, spec.fold)):
        return result, None
    _write_table(folder, scored | others)
    return result, table


def _write_table(folder: Path, scored: Mapping[str, RunFolder]) -> tuple[RegionAcrossFolds, ...]:
    """By the first process; gives the rows."""
    rows = compare_folds({fold: scored[fold].scores for fold in sorted(scored, key=_in_order)})
    if rows and find_processes().rank == 0:
        write_fold_scores(folder / TABLE, rows)
    return rows


def _in_order(fold: str) -> tuple[int, str]:
    """10 after 9."""
    return len(fold), fold


def _attempt(spec: TrainSpec, folder: RunFolder) -> Outcome[TrainResult]:
    """Train a fold; what is wrong with it alone becomes its outcome.

    Several processes end together at the first that fails: they are in step no more.
    """
    name = f"{folder.path.parent.name}/{folder.path.name}"
    if find_processes().world_size > 1:
        return Outcome(name, value=train(spec))
    try:
        return attempt(name, lambda: train(spec))
    except StorageError as error:
        if error.errno is not None:  # the disk refuses, and would refuse the others
            raise
        logger.warning("%s: %s", name, error)  # another process trains this fold, say
        return Outcome(name, error=str(error))
