"""A whole dataset: fingerprint, plan, and every case into the cache; what is done is not redone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

from mednext_cli.cache import schema
from mednext_cli.cache.description import StoredType
from mednext_cli.datasets.dataset import Dataset
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError, FailedCases
from mednext_cli.foundation.leftovers import remove_leftovers
from mednext_cli.foundation.locks import locked
from mednext_cli.foundation.notes import say_notes
from mednext_cli.foundation.outcomes import Outcome, failed_cases, raise_failures
from mednext_cli.foundation.pools import keeping_workers
from mednext_cli.foundation.workers import RunSettings, run_over
from mednext_cli.preprocessing.fingerprint import CaseFingerprint, summarise
from mednext_cli.preprocessing.folder import (
    check_folder,
    describe,
    drop_strangers,
    forget,
    remove_if_empty,
)
from mednext_cli.preprocessing.mirroring import say_swaps
from mednext_cli.preprocessing.plan import plan_dataset
from mednext_cli.preprocessing.plan_file import read_plan
from mednext_cli.preprocessing.stamps import content_key
from mednext_cli.preprocessing.store import StoreTask, is_stored, store_case
from mednext_cli.preprocessing.survey import (
    SurveyedCase,
    bytes_to_prepare,
    bytes_to_survey,
    fingerprints_folder,
    recall_case,
    survey_case,
)
from mednext_cli.settings.fingerprint import Fingerprint
from mednext_cli.settings.plan import Plan

Item = TypeVar("Item")
Value = TypeVar("Value")
Failures = dict[str, Outcome[Any]]
_NO_CASE = "No case can be used."
_PREPARATION = 1  # which way cases are prepared: another number, and all are made anew


@dataclass(frozen=True)
class PreprocessSpec:
    """What `mednext preprocess` is asked to do.

    Attributes:
        raw: the raw folder.
        layout: name of its layout.
        cache: folder that holds the caches; this one becomes ``cache / dataset.name``.
        spacing_mm: target (D, H, W); None takes the dataset's median.
        workers: processes; None fits them to the free memory, 0 works in this process.
        stored_type: of the cached images.
        force: make everything anew.
        dry_run: plan only, write nothing.
        plan: a plan (JSON) to follow instead of the one decided here.
        scheduler: address of a Dask scheduler whose workers do the cases.
        options: of the layout; None for none.
        resample_labels: bring label maps on another grid onto their image's, instead of refusing.
    """

    raw: Path
    layout: str
    cache: Path
    spacing_mm: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    workers: int | None = None
    stored_type: StoredType = "float16"
    force: bool = False
    dry_run: bool = False
    plan: Path | None = None
    scheduler: str | None = None
    options: LayoutOptions | None = None
    resample_labels: bool = False


@dataclass(frozen=True)
class PreprocessResult:
    """What came of it.

    Attributes:
        folder: the dataset's cache.
        plan: how its cases are prepared.
        made: cases prepared now.
        kept: cases that were there and up to date.
        total: labelled cases of the dataset.
        failed: what became of the cases that cannot be used, by case id; the others are done.
    """

    folder: Path
    plan: Plan
    made: int
    kept: int
    total: int
    failed: Failures = field(default_factory=dict)

    def raise_failed(self) -> None:
        """Raise `FailedCases` where some cases could not be used."""
        remedy = "Put these right and run the same command again."
        raise_failures(self.failed.values(), self.total, remedy, "The others are done.")


def preprocess(spec: PreprocessSpec) -> PreprocessResult:
    """Bring the labelled cases of a raw folder into the cache.

    Raises:
        PluginError: unknown layout. DatasetError: not a folder of that layout.
        CacheError: the cache folder is of another version. StorageError: the disk refuses.
        FailedCases: no case could be used. SettingsError: the given plan does not fit.
        KeyboardInterrupt: interrupted; what is done stays, the same call carries on.
    """
    if spec.scheduler is not None:  # its workers have working folders of their own
        spec = replace(spec, raw=spec.raw.absolute(), cache=spec.cache.absolute())
    dataset = read_dataset(spec.raw, spec.layout, spec.options)
    folder = spec.cache / dataset.name
    _check(dataset, folder, spec)
    if spec.dry_run:
        failed: Failures = {}
        plan = _survey_and_plan(dataset, folder, spec, failed)[0]
        return PreprocessResult(folder, plan, 0, 0, len(dataset.labelled), failed)
    new = not spec.cache.exists()
    try:
        with locked(folder):
            _check(dataset, folder, spec)  # again: another run may have made the cache meanwhile
            _tidy(folder)
            fresh = not schema.description_file(folder).is_file()
            try:
                with keeping_workers():
                    return _fill(dataset, folder, spec)
            except FailedCases:
                if fresh:
                    remove_if_empty(folder, fingerprints_folder(folder))
                raise
            finally:
                _tidy(folder)  # of workers that were killed meanwhile
    finally:
        if new:
            with suppress(OSError):  # it holds something, as it should
                spec.cache.rmdir()


def _tidy(folder: Path) -> None:
    remove_leftovers(folder)
    remove_leftovers(fingerprints_folder(folder))


def _fill(dataset: Dataset, folder: Path, spec: PreprocessSpec) -> PreprocessResult:
    """Everything that writes; under the folder's lock."""
    failed: Failures = {}
    plan, fingerprint, surveyed = _survey_and_plan(dataset, folder, spec, failed)
    tasks = [
        StoreTask(
            case,
            _key(surveyed[case.id], plan, spec),
            surveyed[case.id].fingerprint.label_resampled,
        )
        for case in dataset.labelled
        if case.id in surveyed
    ]
    stored = {task.case.id for task in tasks if not spec.force and is_stored(folder, task)}
    todo = [task for task in tasks if task.case.id not in stored]
    kept = len(stored)
    say = partial(describe, folder, spec.raw, spec.stored_type, plan, fingerprint, surveyed)
    drop_strangers(folder, dataset)
    if todo:  # whoever reads the cache meanwhile, or after a crash, finds no case of an older plan
        say(stored)
    try:
        for case_id in _store(todo, plan, folder, spec, surveyed, failed):
            stored.add(case_id)
    finally:
        say(stored)
    forget(folder, failed)
    made, total = len(stored) - kept, len(dataset.labelled)
    if not stored:
        raise failed_cases(failed.values(), total, _NO_CASE)
    return PreprocessResult(folder, plan, made, kept, total, dict(sorted(failed.items())))


def _survey_and_plan(
    dataset: Dataset, folder: Path, spec: PreprocessSpec, failed: Failures
) -> tuple[Plan, Fingerprint, dict[str, SurveyedCase]]:
    surveyed = _survey(dataset, folder, spec, failed)
    cases = [case.fingerprint for case in surveyed.values()]
    fingerprint = summarise(cases, dataset.labels)
    say_swaps(fingerprint)
    planned = plan_dataset(dataset, cases, fingerprint, spec.spacing_mm)
    plan = planned if spec.plan is None else read_plan(spec.plan, planned)
    return plan, fingerprint, surveyed


def _check(dataset: Dataset, folder: Path, spec: PreprocessSpec) -> None:
    """Refuse what cannot be done before anything is read or written."""
    if not dataset.labelled:
        raise DatasetError(f"{spec.raw} has no labelled case", "Check the folder and the layout.")
    if any(
        schema.case_file(folder, case.id) == schema.index_file(folder) for case in dataset.cases
    ):
        raise DatasetError(f"{spec.raw} has a case named index", "Rename it.")
    check_folder(folder, spec.raw, force=spec.force, dry_run=spec.dry_run)


def _survey(
    dataset: Dataset, folder: Path, spec: PreprocessSpec, failed: Failures
) -> dict[str, SurveyedCase]:
    """Check every labelled case and take its fingerprint, or recall the one taken before."""
    found: dict[str, SurveyedCase] = {}
    if not spec.force:
        recalled = {
            case.id: recall_case(case, dataset.labels, folder, spec.resample_labels)
            for case in dataset.labelled
        }
        found = {case_id: case for case_id, case in recalled.items() if case is not None}
    cases = [case for case in dataset.labelled if case.id not in found]
    work = partial(
        survey_case,
        labels=dataset.labels,
        folder=folder,
        keep=not spec.dry_run,
        anew=spec.force,
        resample_label=spec.resample_labels,
    )
    settings = RunSettings(spec.workers, spec.scheduler, bytes_to_survey)
    for case_id, value in _run(work, cases, attrgetter("id"), settings, "checking", failed):
        found[case_id] = value
    if not found:
        if not spec.dry_run:
            forget(folder, failed)
        raise failed_cases(failed.values(), len(dataset.labelled), _NO_CASE)
    found = dict(sorted(found.items()))
    notes = {case_id: _notes(case.fingerprint) for case_id, case in found.items()}
    say_notes(notes, "mednext datasets verify gives them all")
    return found


def _notes(case: CaseFingerprint) -> list[str]:
    empty = ["the label map is empty; the case is kept"] if not case.foreground_voxels else []
    return [*case.notes, *empty]


def _key(surveyed: SurveyedCase, plan: Plan, spec: PreprocessSpec) -> str:
    """Hash of all that decides what is in the case's file."""
    return content_key(
        _PREPARATION,
        surveyed.content,
        plan.spacing_mm,
        [channel.model_dump(mode="json") for channel in plan.normalisation],
        plan.label_set.values,
        plan.label_set.ignore,
        spec.stored_type,
        *(["label resampled"] if surveyed.fingerprint.label_resampled else []),
    )


def _store(
    todo: Sequence[StoreTask],
    plan: Plan,
    folder: Path,
    spec: PreprocessSpec,
    surveyed: Mapping[str, SurveyedCase],
    failed: Failures,
) -> Iterator[str]:
    """Prepare and write cases; yields the ids of those that are done."""

    def bytes_of(task: StoreTask) -> int:
        return bytes_to_prepare(surveyed[task.case.id].fingerprint, plan)

    settings = RunSettings(spec.workers, spec.scheduler, bytes_of)
    work = partial(store_case, plan=plan, folder=folder, stored_type=spec.stored_type)
    for case_id, _ in _run(work, todo, attrgetter("case.id"), settings, "preparing", failed):
        yield case_id


def _run(
    work: Callable[[Item], Value],
    items: Sequence[Item],
    name: Callable[[Item], str],
    settings: RunSettings[Item],
    description: str,
    failed: Failures,
) -> Iterator[tuple[str, Value]]:
    """Yield what succeeds and note what fails."""
    if not items:
        return
    with closing(run_over(work, items, name, settings, description)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                failed[outcome.name] = outcome
            else:
                yield outcome.name, cast(Value, outcome.value)
