"""Find out which post-processing raises the Dice of validation cases, and store it."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from mednext_cli.evaluation.scoring.work_load import settings_for
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.outcomes import raise_failures
from mednext_cli.foundation.workers import run_over
from mednext_cli.inference.postprocessing.choosing import Choice, choose, dice, mean_dice
from mednext_cli.inference.postprocessing.columns import FITTED
from mednext_cli.inference.postprocessing.steps import (
    FILE_NAME,
    OPERATIONS,
    Postprocessing,
    Step,
    save_postprocessing,
)
from mednext_cli.inference.postprocessing.tally import Counts, Question, count_case, stack
from mednext_cli.inference.postprocessing.validation import (
    ValidationCases,
    find_validation_cases,
)
from mednext_cli.settings.labels import LabelSet

_MINIMA_ML = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_FOREGROUND, _ALL = "foreground", "all"
Row = dict[str, Any]
Target = tuple[Step, ...]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitPostprocessingSpec:
    """What `mednext postprocess fit` is asked to do.

    Attributes:
        predictions: a run folder, a folder of run folders, or a folder of label maps.
        labels: the references: a folder, or a raw dataset's.
        dataset: layout of `labels`; None finds out.
        out: folder for the results; None takes that of the predictions, where
            `mednext predict --model` looks.
        workers: processes; 0 works in this one, None decides.
    """

    predictions: Path
    labels: Path
    dataset: str | None = None
    out: Path | None = None
    workers: int | None = None


@dataclass(frozen=True)
class FitPostprocessingResult:
    """What was found.

    Attributes:
        path: of the stored post-processing.
        postprocessing: what is stored; it may have no steps.
        rows: of postprocessing.csv.
    """

    path: Path
    postprocessing: Postprocessing
    rows: tuple[Row, ...]


def fit_postprocessing(spec: FitPostprocessingSpec) -> FitPostprocessingResult:
    """Try steps on validation cases, the larger structures first, and keep those that help.

    Raises:
        DatasetError, SettingsError: see `validation.find_validation_cases`.
        FailedCases: a case could not be compared; nothing is written.
        StorageError: the disk refuses.
    """
    folder = spec.out or spec.predictions
    cases = find_validation_cases(spec.predictions, spec.labels, spec.dataset)
    check_writable(folder)
    search = _Search(cases, spec.workers)
    for targets in _stages(cases.labels):
        search.decide(targets)
    rows = (*search.rows, search.summary())
    made = Postprocessing(
        labels=dict(cases.labels.names), steps=search.steps, cases=len(cases.pairs)
    )
    FITTED.write(folder / FITTED.title, rows)
    save_postprocessing(folder / FILE_NAME, made)
    return FitPostprocessingResult(folder / FILE_NAME, made, rows)


def _stages(labels: LabelSet) -> Iterator[tuple[Target, ...]]:
    """What is decided together: unions of labels one by one, then all labels, then their holes."""
    names = {name: (value,) for name, value in labels.names.items()}
    every = tuple(sorted(labels.names.values()))
    unions = {_FOREGROUND: every} | dict(labels.regions)
    seen: set[tuple[int, ...]] = set()
    for name, values in sorted(unions.items(), key=lambda item: -len(item[1])):
        own = tuple(sorted(set(values)))
        if len(own) > 1 and own not in seen:
            seen.add(own)
            yield (_removals(name, own),)
    yield tuple(_removals(name, values) for name, values in names.items())
    yield tuple(
        (Step(structure=name, values=values, operation="fill_holes"),)
        for name, values in names.items()
    )


def _removals(name: str, values: tuple[int, ...]) -> Target:
    largest = Step(structure=name, values=values, operation="largest_component")
    by_volume = (
        Step(structure=name, values=values, operation="minimum_volume", minimum_ml=least)
        for least in _MINIMA_ML
    )
    return (largest, *by_volume)


class _Search:
    """Steps decided so far, and how the cases stand with them."""

    def __init__(self, cases: ValidationCases, workers: int | None) -> None:
        self._cases, self._workers = cases, workers
        self.steps: tuple[Step, ...] = ()
        self.rows: list[Row] = []
        self._first: Counts | None = None

    def decide(self, targets: Sequence[Target]) -> None:
        """Count the cases as they are now, and choose a candidate of every target, or none."""
        regions, changes = self._count(tuple(targets))
        if self._first is None:
            self._first = regions
        kept = []
        for target, change in zip(targets, changes, strict=True):
            choice = choose(regions, change, self._cases.groups)
            self.rows.append(_row(target, choice))
            if choice.kept and choice.candidate is not None:
                kept.append(target[choice.candidate])
                regions = regions.copy()
                regions[..., [0, 2]] += change[:, choice.candidate]
        self.steps = (*self.steps, *kept)

    def summary(self) -> Row:
        """The row of all steps together, counted anew."""
        regions, _ = self._count(())
        assert self._first is not None  # noqa: S101 - there is always a stage
        changed = int((regions != self._first).any(axis=(1, 2)).sum())
        before, after = mean_dice(dice(self._first)), mean_dice(dice(regions))
        return {
            "structure": _ALL,
            "operation": ", ".join(name for name in OPERATIONS if self._has(name)),
            "minimum_ml": None,
            "dice_before": before,
            "dice_after": after,
            "dice_left_out": None,
            "changed_cases": changed,
            "kept": int(bool(self.steps)),
        }

    def _has(self, operation: str) -> bool:
        return any(step.operation == operation for step in self.steps)

    def _count(self, targets: tuple[Target, ...]) -> tuple[Counts, list[Counts]]:
        pairs = self._cases.pairs
        question = Question(self._cases.labels, self.steps, targets)
        outcomes = list(
            run_over(
                partial(count_case, question=question),
                pairs,
                name=attrgetter("case"),
                settings=settings_for(pairs, self._workers),
                description="post-processing",
            )
        )
        raise_failures(outcomes, len(pairs), "Put these right and run it again.")
        tallies = {outcome.name: outcome.value for outcome in outcomes if outcome.value}
        return stack(tallies, [pair.case for pair in pairs])


def _row(target: Target, choice: Choice) -> Row:
    step = None if choice.candidate is None else target[choice.candidate]
    by_volume = step is not None and step.operation == "minimum_volume"
    return {
        "structure": target[0].structure,
        "operation": step.operation if step else None,
        "minimum_ml": step.minimum_ml if step and by_volume else None,
        "dice_before": choice.before,
        "dice_after": choice.after,
        "dice_left_out": choice.left_out,
        "changed_cases": choice.changed_cases,
        "kept": int(choice.kept),
    }
