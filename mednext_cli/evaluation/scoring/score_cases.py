"""Score many cases, and give every case the same regions."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter

from mednext_cli.evaluation.scoring.score_case import (
    CasePair,
    CaseScores,
    label_region,
    score_case,
)
from mednext_cli.evaluation.scoring.scores import (
    MISSING,
    RegionScore,
    ScoreSettings,
    empty_region,
    failed_region,
    missing_region,
)
from mednext_cli.evaluation.scoring.work_load import settings_for
from mednext_cli.foundation.outcomes import Outcome, failed_cases
from mednext_cli.foundation.workers import run_over

CHECK_FILES = "Correct what is said about each and run the same command again."
Failures = Mapping[str, Outcome[CaseScores]]
logger = logging.getLogger(__name__)


def score_cases(
    pairs: Sequence[CasePair], settings: ScoreSettings, workers: int | None
) -> tuple[list[CaseScores], Failures]:
    """Score every case.

    Args:
        pairs: predictions and references.
        settings: how they are compared.
        workers: processes; 0 works in this one, None decides.

    Returns:
        Scores, sorted by case; what became of the cases that could not be compared, by case.

    Raises:
        FailedCases: no case could be compared.
    """
    outcomes = run_over(
        partial(score_case, settings=settings),
        pairs,
        name=attrgetter("case"),
        settings=settings_for(pairs, workers),
        description="scoring",
    )
    scored, failed = [], {}
    for outcome in outcomes:
        if outcome.value is not None:
            scored.append(outcome.value)
        else:
            failed[outcome.name] = outcome
    if not scored:
        raise failed_cases(failed.values(), len(pairs), CHECK_FILES)
    scored.sort(key=lambda case: case.case)
    return scored, dict(sorted(failed.items()))


def complete_rows(
    scored: Sequence[CaseScores], failed: Failures, settings: ScoreSettings
) -> tuple[RegionScore, ...]:
    """The rows of all cases, every case with the same regions in the same order."""
    regions = scored_regions(scored, settings)
    rows = {case: [failed_region(case, name, settings) for name in regions] for case in failed}
    for case in scored:
        own = {row.region: row for row in case.regions}
        absent = missing_region if case.status == MISSING else empty_region
        every = [own.get(name) or absent(case.case, name, settings) for name in regions]
        rows[case.case] = [replace(row, resampled=case.resampled) for row in every]
    return tuple(row for case_id in sorted(rows) for row in rows[case_id])


def scored_regions(scored: Sequence[CaseScores], settings: ScoreSettings) -> list[str]:
    """The regions by name: the label set's, or a region for every label that occurs."""
    if settings.label_set is not None:
        return list(settings.label_set.regions)
    found = found_labels(scored)
    if settings.reached is not None:
        found &= settings.reached
    return [label_region(value) for value in sorted(found)]


def found_labels(scored: Sequence[CaseScores]) -> set[int]:
    """All label values that any map holds, without background."""
    return {v for case in scored for v in (*case.reference_labels, *case.prediction_labels)}


def note_labels_of_predictions_alone(scored: Sequence[CaseScores]) -> None:
    """Warn of labels that no reference has: without a label set nobody else would tell."""
    known = {value for case in scored for value in case.reference_labels}
    strange = {value for case in scored for value in case.prediction_labels} - known
    if strange and known:
        logger.warning(
            "labels %s occur in predictions and in no reference; they are scored as false "
            "positives",
            ", ".join(map(str, sorted(strange))),
        )
