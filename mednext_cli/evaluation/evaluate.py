"""Score a folder of predictions against the references, and write what was found."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mednext_cli.datasets.label_map import (
    LabelMap,
    SharedLabels,
    named_labels_of,
    read_label_map,
)
from mednext_cli.evaluation.choices import (
    EmptyPolicyName,
    Hd95Definition,
    LesionMatching,
    MissingCase,
    Protocol,
)
from mednext_cli.evaluation.metrics.empty_masks import policy_of_dataset
from mednext_cli.evaluation.pages.overlays import CaseOverlay, draw_overlays, find_images
from mednext_cli.evaluation.pages.report import ReportTitle, worst_cases, write_report
from mednext_cli.evaluation.scoring.label_mapping import read_mapping, restrict
from mednext_cli.evaluation.scoring.left_out import Kept, recorded_only
from mednext_cli.evaluation.scoring.pairing import Pairs, pair_up
from mednext_cli.evaluation.scoring.references import (
    Naming,
    References,
    find_references,
    recorded_labels,
)
from mednext_cli.evaluation.scoring.score_case import CasePair, CaseScores, label_region
from mednext_cli.evaluation.scoring.score_cases import (
    CHECK_FILES,
    Failures,
    complete_rows,
    found_labels,
    note_labels_of_predictions_alone,
    score_cases,
    scored_regions,
)
from mednext_cli.evaluation.scoring.scores import MEDNEXT, RegionScore, ScoreSettings
from mednext_cli.evaluation.scoring.shared_labels import find_shared_labels
from mednext_cli.evaluation.scoring.tolerances import check_regions, check_tolerances
from mednext_cli.evaluation.tables.cases_csv import write_cases
from mednext_cli.evaluation.tables.nnunet_summary import write_nnunet_summary
from mednext_cli.evaluation.tables.summary import OVERALL, SummaryRow, summarise, write_summary
from mednext_cli.foundation.errors import DatasetError, SettingsError, check_choice
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.notes import say_notes
from mednext_cli.foundation.outcomes import raise_failures
from mednext_cli.settings.labels import LabelSet

_DRAWN = 6  # of the worst cases
_OTHERS = "The others are scored."
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
        label_source: where `label_set` comes from, for people.
        tolerance_mm: of the surface Dice; None takes the dataset's, else 1 mm.
        region_tolerances_mm: of some regions, before any other.
        empty_policy: name of the convention for empty masks; None takes the dataset's.
        missing: what a case without prediction counts as: "worst", or "drop" leaves it out.
        workers: processes; 0 works in this one, None decides by cores, memory and work.
        report: whether report.html is written.
        protocol: "mednext" scores as the paper's tables; None in mm.
        hd95: which definition, see `scores.ScoreSettings`.
        lesions: how lesions match, see `lesions.count_lesions`; None scores none.
        mapping: LAYOUT:LAYOUT or a TOML file, see `label_mapping.read_mapping`.
        label_map: a shipped label map, a TOML file, or one that was read, see `datasets.label_map`:
            scores what both datasets name and ignores the references' other labels. Not together
            with `mapping`.
        resample: bring predictions on another grid onto the reference's.
        summary_json: whether nnU-Net's summary.json is written too.
        images: folder of the scans, which the report draws its worst cases over.
    """

    predictions: Path
    labels: Path | Mapping[str, Path]
    out: Path | None = None
    dataset: str | None = None
    label_set: LabelSet | None = None
    label_source: str = ""
    tolerance_mm: float | None = None
    region_tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    empty_policy: EmptyPolicyName | None = None
    missing: MissingCase = "worst"
    workers: int | None = None
    report: bool = True
    protocol: Protocol | None = None
    hd95: Hd95Definition = "surface_distance"
    lesions: LesionMatching | None = None
    mapping: str | None = None
    label_map: str | LabelMap | None = None
    resample: bool = False
    summary_json: bool = False
    images: Path | None = None

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
        failed: what became of each case that could not be compared, by case id.
        missing: cases without a prediction.
        extra: predictions without a reference.
    """

    folder: Path
    label_source: str
    scores: tuple[RegionScore, ...]
    summary: tuple[SummaryRow, ...]
    failed: Failures
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
        total = len({score.case for score in self.scores})
        raise_failures(self.failed.values(), total, CHECK_FILES, _OTHERS)


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
    shared = SharedLabels(read_mapping(spec.mapping), ()) if spec.mapping else None
    label_map = spec.label_map
    if isinstance(label_map, str):
        label_map = read_label_map(label_map)
    if label_map is not None:
        spec = _of_target(spec, label_map)
    references = _find_references(spec)
    if label_map is not None:
        shared = find_shared_labels(label_map, spec.predictions, references.label_set)
    matched = pair_up(spec.predictions, references.paths)
    _note_unmatched(matched, spec.missing)
    cases = [pair.case for pair in matched.pairs]
    images = find_images(spec.images, cases, spec.dataset) if spec.images else {}
    kept = recorded_only(spec.predictions, shared.mapping if shared else None)
    settings = _settings(spec, references.label_set, shared, kept)
    check_writable(spec.folder)
    pairs = [pair for pair in matched.pairs if pair.prediction or spec.missing == "worst"]
    scored, failed = score_cases(pairs, settings, spec.workers)
    say_notes({case.case: case.notes for case in scored})
    if settings.label_set is None:
        _look_at_labels(spec, scored, settings, kept)
    scores = complete_rows(scored, failed, settings)
    if not scores:
        raise DatasetError(
            f"neither {spec.predictions} nor the references hold any label",
            "Name the regions to score with --dataset.",
        )
    result = EvaluateResult(
        folder=spec.folder,
        label_source=references.source,
        scores=scores,
        summary=summarise(scores),
        failed=failed,
        missing=matched.missing,
        extra=matched.extra,
    )
    write_cases(result.folder / "cases.csv", result.scores)
    write_summary(result.folder / "summary.csv", result.summary)
    if spec.report:
        drawn = _worst_pairs(pairs, result)
        _report(spec, result, draw_overlays(drawn, images, settings, spec.workers))
    if spec.summary_json:
        path = result.folder / "summary.json"
        labels = settings.label_set
        write_nnunet_summary(path, matched.pairs, scored, labels, settings.kept)
    return result


def _look_at_labels(
    spec: EvaluateSpec, scored: Sequence[CaseScores], settings: ScoreSettings, kept: Kept | None
) -> None:
    """What only the label maps tell, where nothing names the labels."""
    if kept is not None:
        kept.say(label_region(value) for value in sorted(found_labels(scored) - kept.values))
    check_regions(spec.region_tolerances_mm, scored_regions(scored, settings))
    note_labels_of_predictions_alone(scored)


def _check_settings(spec: EvaluateSpec) -> None:
    check_choice("--empty-policy", spec.empty_policy, EmptyPolicyName)
    check_choice("--missing", spec.missing, MissingCase)
    check_choice("--protocol", spec.protocol, Protocol)
    check_choice("--hd95", spec.hd95, Hd95Definition)
    check_choice("--lesions", spec.lesions, LesionMatching)
    if spec.mapping and spec.label_map:
        raise SettingsError("--map and --label-map both translate labels", "Drop one of them.")
    tolerances = list(spec.region_tolerances_mm.values())
    if spec.tolerance_mm is not None:
        tolerances.append(spec.tolerance_mm)
    if spec.protocol and tolerances:
        raise SettingsError(
            "--tolerance with --protocol mednext, whose tolerance is one voxel", "Drop one of them."
        )
    check_tolerances(tolerances)


def _of_target(spec: EvaluateSpec, label_map: LabelMap) -> EvaluateSpec:
    """With what the label map calls the references' labels, unless the user says it himself."""
    if spec.dataset is not None or spec.label_set is not None:
        return spec
    if isinstance(label_map.target, str):
        return replace(spec, dataset=label_map.target)
    named = named_labels_of(label_map.target)
    return replace(spec, label_set=named, label_source=str(spec.label_map)) if named else spec


def _settings(
    spec: EvaluateSpec,
    label_set: LabelSet | None,
    shared: SharedLabels | None,
    kept: Kept | None,
) -> ScoreSettings:
    if spec.protocol == MEDNEXT and label_set and not label_set.region_training:
        # The paper scores each label by itself: kidney and tumour of KiTS19 apart.
        label_set = replace(label_set, regions={k: (v,) for k, v in label_set.names.items()})
    if shared is not None and label_set is not None:
        label_set = restrict(label_set, shared.mapping)
    if label_set is not None:
        check_regions(spec.region_tolerances_mm, label_set.regions)
        label_set = kept.restrict(label_set) if kept else label_set
    return ScoreSettings(
        label_set=label_set,
        tolerance_mm=spec.tolerance_mm,
        region_tolerances_mm=spec.region_tolerances_mm,
        empty_policy=spec.empty_policy
        or policy_of_dataset(None if spec.protocol else spec.dataset),
        hd95=spec.hd95,
        protocol=spec.protocol,
        lesions=spec.lesions,
        mapping=shared.mapping if shared else None,
        ignored=shared.ignored if shared else (),
        resample=spec.resample,
        kept=kept.values if kept else None,
    )


def _find_references(spec: EvaluateSpec) -> References:
    given = Naming(spec.label_set, spec.label_source) if spec.label_set else None
    if isinstance(spec.labels, Path):
        known = recorded_labels(spec.predictions)
        return find_references(spec.labels, spec.dataset, given, known)
    return References(spec.labels, spec.label_set, spec.label_source)


def _note_unmatched(matched: Pairs, missing: MissingCase) -> None:
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


def _worst_pairs(pairs: Sequence[CasePair], result: EvaluateResult) -> list[CasePair]:
    """The worst cases that can be drawn; those without a prediction fill up what is left."""
    by_case = {pair.case: pair for pair in pairs if pair.case not in result.failed}
    worst = [by_case[case] for _, case in worst_cases(result.scores) if case in by_case]
    worst.sort(key=lambda pair: pair.prediction is None)
    return worst[:_DRAWN]


def _report(spec: EvaluateSpec, result: EvaluateResult, overlays: Sequence[CaseOverlay]) -> None:
    labels = str(spec.labels) if isinstance(spec.labels, Path) else "the given label maps"
    write_report(
        result.folder / "report.html",
        ReportTitle(str(spec.predictions), labels, result.label_source),
        result.scores,
        result.summary,
        {case: outcome.error or "" for case, outcome in result.failed.items()},
        overlays,
    )
