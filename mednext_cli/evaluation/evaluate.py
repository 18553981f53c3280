"""Score a folder of predictions against the references, and write what was found."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path

from mednext_cli.datasets.dataset import LabelSet
from mednext_cli.evaluation.empty_masks import DEFAULT_POLICY, find_policy
from mednext_cli.evaluation.pairing import Pairs, References, find_references, pair_up
from mednext_cli.evaluation.report import ReportTitle, write_report
from mednext_cli.evaluation.score_case import CasePair, CaseScores, label_region, score_case
from mednext_cli.evaluation.scores import (
    MISSING,
    RegionScore,
    ScoreSettings,
    empty_region,
    failed_region,
    missing_region,
)
from mednext_cli.evaluation.summary import OVERALL, SummaryRow, summarise, write_summary
from mednext_cli.evaluation.tables_csv import write_cases
from mednext_cli.foundation.errors import (
    DatasetError,
    FailedCases,
    ScanError,
    SettingsError,
    nearest,
)
from mednext_cli.foundation.files import make_folder
from mednext_cli.foundation.machine import count_workers
from mednext_cli.foundation.workers import run_over
from mednext_cli.volumes.nifti import read_grid

MISSING_CHOICES = ("worst", "drop")
_BYTES_PER_VOXEL = 16  # two maps as read, as indices and, inside boxes, a distance map
_BYTES_OF_A_PROCESS = 200 * 2**20
_SMALL_CASE_BYTES = 2**20  # uncompressed; starting processes costs more than scoring a few
_FEW_SMALL_CASES = 40
_CHECK_FILES = "Correct what is said about each and run the same command again."
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateSpec:
    """What to score and how.

    Attributes:
        predictions: a folder of label maps, or one.
        labels: the same for the references, or a raw dataset's folder, or paths by case id.
        out: folder for the results; None takes the folder of the predictions.
        dataset: layout that says what the labels mean; None looks for a dataset.json.
        label_set: the labels and regions themselves; goes before `dataset`.
        tolerance_mm: of the surface Dice; None takes the dataset's, else 1 mm.
        empty_policy: name of the convention for empty masks.
        missing: what a case without prediction counts as: "worst", or "drop" leaves it out.
        workers: processes; 0 works in this one, None decides by cores, memory and work.
        report: whether report.html is written.
    """

    predictions: Path
    labels: Path | Mapping[str, Path]
    out: Path | None = None
    dataset: str | None = None
    label_set: LabelSet | None = None
    tolerance_mm: float | None = None
    empty_policy: str = DEFAULT_POLICY
    missing: str = "worst"
    workers: int | None = None
    report: bool = True

    @property
    def folder(self) -> Path:
        """Where the results go."""
        if self.out is not None:
            return self.out
        return self.predictions if self.predictions.is_dir() else self.predictions.parent


@dataclass(frozen=True)
class EvaluateResult:
    """What was found and where it stands.

    Attributes:
        folder: holds cases.csv, summary.csv and report.html.
        label_source: where the regions' names come from; "" for labels as they are.
        scores: the rows of cases.csv.
        summary: the rows of summary.csv.
        failed: why, by id of each case that could not be compared.
        missing: cases without a prediction.
        extra: predictions without a reference.
    """

    folder: Path
    label_source: str
    scores: tuple[RegionScore, ...]
    summary: tuple[SummaryRow, ...]
    failed: Mapping[str, str]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """The scored regions in report order."""
        return tuple(dict.fromkeys(score.region for score in self.scores))

    def mean(self, metric: str, region: str = OVERALL) -> float:
        """Mean of a metric of a region, or over the regions; nan where it is undefined.

        Raises:
            KeyError: there is no such region or metric.
        """
        for row in self.summary:
            if (row.region, row.metric) == (region, metric):
                return row.mean
        raise KeyError(f"{region}, {metric}")

    def raise_failed(self) -> None:
        """Raise `FailedCases` if some cases could not be compared."""
        if self.failed:
            total = len({score.case for score in self.scores})
            raise FailedCases(self.failed, total, _CHECK_FILES)


def evaluate(spec: EvaluateSpec) -> EvaluateResult:
    """Score every case, write cases.csv, summary.csv and report.html.

    Cases that cannot be compared have no scores, and the others go on; see
    `EvaluateResult.raise_failed`.

    Raises:
        DatasetError: no label maps, or names that do not match.
        SettingsError: a setting has no meaning.
        FailedCases: not one case could be compared; nothing is written.
        StorageError: the results cannot be written.
    """
    _check_settings(spec)
    references = _find_references(spec)
    matched = pair_up(spec.predictions, references.paths)
    _note_unmatched(matched, spec.missing)
    folder = make_folder(spec.folder)
    label_set = references.label_set
    settings = ScoreSettings(label_set, spec.tolerance_mm, spec.empty_policy)
    pairs = [pair for pair in matched.pairs if pair.prediction or spec.missing == "worst"]
    scored, failed = _score_all(pairs, settings, spec.workers)
    if label_set is None:
        _note_labels_of_predictions_alone(scored)
    scores = _complete(scored, failed, settings)
    if not scores:
        raise DatasetError(
            f"neither {spec.predictions} nor the references hold any label",
            "Name the regions to score with --dataset.",
        )
    result = EvaluateResult(
        folder=folder,
        label_source=references.source,
        scores=scores,
        summary=summarise(scores),
        failed=failed,
        missing=matched.missing,
        extra=matched.extra,
    )
    _write(spec, result)
    return result


def _check_settings(spec: EvaluateSpec) -> None:
    find_policy(spec.empty_policy)
    if spec.missing not in MISSING_CHOICES:
        known = dict.fromkeys(MISSING_CHOICES)
        raise SettingsError(f"--missing {spec.missing}", nearest(spec.missing, known))
    tolerance_mm = spec.tolerance_mm
    if tolerance_mm is not None and not (isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise SettingsError(f"a tolerance of {tolerance_mm} mm", "Give a number from 0.")


def _find_references(spec: EvaluateSpec) -> References:
    if isinstance(spec.labels, Path):
        found = find_references(spec.labels, spec.dataset)
    else:
        found = References(spec.labels)
    return replace(found, label_set=spec.label_set) if spec.label_set else found


def _note_unmatched(matched: Pairs, missing: str) -> None:
    if matched.missing:
        fate = (
            "scored as the worst (--missing drop leaves them out)"
            if missing == "worst"
            else "left out"
        )
        logger.warning("%s: %s", _listed("case", matched.missing, "without a prediction"), fate)
    if matched.extra:
        listed = _listed("prediction", matched.extra, "without a reference")
        logger.warning("%s: left out", listed)


def _listed(noun: str, names: Sequence[str], what: str) -> str:
    few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} {what} ({few})"


def _score_all(
    pairs: Sequence[CasePair], settings: ScoreSettings, workers: int | None
) -> tuple[list[CaseScores], dict[str, str]]:
    outcomes = run_over(
        partial(score_case, settings=settings),
        pairs,
        name=lambda pair: pair.case,
        workers=_count_workers(pairs, workers),
        description="scoring",
    )
    scored, failed = [], {}
    for outcome in outcomes:
        if outcome.value is not None:
            scored.append(outcome.value)
        else:
            failed[outcome.name] = outcome.error or "no result"
    if not scored:
        raise FailedCases(failed, len(pairs), _CHECK_FILES)
    scored.sort(key=lambda one: one.case)
    return scored, dict(sorted(failed.items()))


def _count_workers(pairs: Sequence[CasePair], workers: int | None) -> int:
    """As many as asked for, else as memory and cores allow and the work is worth."""
    if workers is not None:
        return count_workers(workers, 1, len(pairs))
    voxel_bytes = _largest_voxels(pairs)
    if voxel_bytes <= _SMALL_CASE_BYTES and len(pairs) <= _FEW_SMALL_CASES:
        return 0
    needed = voxel_bytes * _BYTES_PER_VOXEL + _BYTES_OF_A_PROCESS
    return count_workers(None, needed, len(pairs))


def _largest_voxels(pairs: Iterable[CasePair]) -> int:
    """Voxels of the reference whose file is the largest, as the best guess without reading all."""
    by_size = sorted(pairs, key=lambda pair: _file_bytes(pair.reference), reverse=True)
    for pair in by_size[:3]:
        try:
            shape = read_grid(pair.reference).shape
        except ScanError:
            continue
        return shape[0] * shape[1] * shape[2]
    return 0


def _file_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note_labels_of_predictions_alone(scored: Sequence[CaseScores]) -> None:
    known = {value for case in scored for value in case.reference_labels}
    strange = {value for case in scored for value in case.prediction_labels} - known
    if strange and known:
        logger.warning(
            "labels %s occur in predictions and in no reference; they are scored as false "
            "positives",
            ", ".join(map(str, sorted(strange))),
        )


def _complete(
    scored: Sequence[CaseScores], failed: Mapping[str, str], settings: ScoreSettings
) -> tuple[RegionScore, ...]:
    """The rows of all cases, every case with the same regions in the same order."""
    regions = _regions(scored, settings.label_set)
    rows = {case: [failed_region(case, name, settings) for name in regions] for case in failed}
    for one in scored:
        own = {row.region: row for row in one.regions}
        absent = missing_region if one.status == MISSING else empty_region
        rows[one.case] = [own.get(name) or absent(one.case, name, settings) for name in regions]
    return tuple(row for case in sorted(rows) for row in rows[case])


def _regions(scored: Sequence[CaseScores], label_set: LabelSet | None) -> list[str]:
    if label_set is not None:
        return list(label_set.regions)
    values = {v for one in scored for v in (*one.reference_labels, *one.prediction_labels)}
    return [label_region(value) for value in sorted(values)]


def _write(spec: EvaluateSpec, result: EvaluateResult) -> None:
    write_cases(result.folder / "cases.csv", result.scores)
    write_summary(result.folder / "summary.csv", result.summary)
    if spec.report:
        labels = str(spec.labels) if isinstance(spec.labels, Path) else "the given label maps"
        title = ReportTitle(str(spec.predictions), labels, result.label_source)
        write_report(result.folder / "report.html", title, result.scores, result.summary,
                     result.failed)  # fmt: skip
