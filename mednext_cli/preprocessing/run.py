"""A whole dataset: fingerprint, plan, and every case into the cache; what is done is not redone."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache import schema
from mednext_cli.cache.reader import check_description, open_case_file
from mednext_cli.cache.writer import CaseRecord, write_case, write_description, write_index
from mednext_cli.datasets.dataset import Case, Dataset
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import CacheError, DatasetError, FailedCases, ScanError
from mednext_cli.foundation.files import make_folder, read_json
from mednext_cli.foundation.machine import count_workers
from mednext_cli.foundation.workers import run_over
from mednext_cli.preprocessing.apply import prepare_case
from mednext_cli.preprocessing.fingerprint import Fingerprint, summarise
from mednext_cli.preprocessing.foreground import sample_foreground
from mednext_cli.preprocessing.plan import Plan, plan_dataset
from mednext_cli.preprocessing.stamps import content_key, contents
from mednext_cli.preprocessing.survey import (
    SurveyedCase,
    bytes_to_prepare,
    bytes_to_survey,
    survey_case,
)
from mednext_cli.volumes.resample import resampled_shape

StoredType = Literal["float16", "float32"]
logger = logging.getLogger(__name__)


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
    """

    raw: Path
    layout: str
    cache: Path
    spacing_mm: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    workers: int | None = None
    stored_type: StoredType = "float16"
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class PreprocessResult:
    """Where the cache is, its plan, and how many cases were made or left as they were."""

    folder: Path
    plan: Plan
    made: int
    kept: int


def preprocess(spec: PreprocessSpec) -> PreprocessResult:
    """Bring a raw folder into the cache.

    Raises:
        PluginError: unknown layout. DatasetError: not a folder of that layout, or no case to use.
        CacheError: the cache folder is of another version. StorageError: the disk refuses.
        FailedCases: some cases could not be used; the others are done.
    """
    dataset = read_dataset(spec.raw, spec.layout)
    folder = spec.cache / dataset.name
    if not dataset.labelled:
        raise DatasetError(f"{spec.raw} has no labelled case", "Check the folder and the layout.")
    _begin(folder, spec)
    failed: dict[str, str] = {}
    surveyed = _survey(dataset, folder, spec, failed)
    if not surveyed:
        raise FailedCases(failed, len(dataset.labelled), "No case can be used.")
    cases = [one.fingerprint for one in surveyed.values()]
    fingerprint = summarise(cases)
    plan = plan_dataset(dataset, cases, fingerprint, spec.spacing_mm)
    if spec.dry_run:
        _fail_if_any(failed, len(dataset.labelled))
        return PreprocessResult(folder, plan, 0, 0)
    keys = {
        case_id: content_key(
            contents(one.stamps), plan.model_dump(mode="json"), spec.stored_type, schema.VERSION
        )
        for case_id, one in surveyed.items()
    }
    todo = [
        case
        for case in dataset.labelled
        if case.id in surveyed and not _is_done(folder, case.id, keys[case.id])
    ]
    _prepare(todo, plan, keys, folder, spec, surveyed, failed)
    good = {case_id: one for case_id, one in surveyed.items() if case_id not in failed}
    _finish(folder, spec, plan, fingerprint, good)
    _fail_if_any(failed, len(dataset.labelled))
    made = sum(case.id in good for case in todo)
    return PreprocessResult(folder, plan, made, len(good) - made)


def _begin(folder: Path, spec: PreprocessSpec) -> None:
    """Make the folder; refuse one of another version unless it is to be made anew."""
    path = schema.description_file(folder)
    if path.is_file() and not spec.force:
        try:
            check_description(path, read_json(path))
        except DatasetError as error:
            raise CacheError(error.message, "Add --force to make the cache anew.") from error
    if spec.force and path.is_file() and not spec.dry_run:
        shutil.rmtree(folder)
    if not spec.dry_run:
        make_folder(folder)


def _survey(
    dataset: Dataset, folder: Path, spec: PreprocessSpec, failed: dict[str, str]
) -> dict[str, SurveyedCase]:
    """Check every labelled case and take its fingerprint, or read the one taken before."""
    cases = dataset.labelled
    workers = count_workers(spec.workers, bytes_to_survey(cases), len(cases))
    work = partial(
        survey_case, labels=dataset.labels, folder=folder, keep=not spec.dry_run, anew=spec.force
    )
    found: dict[str, SurveyedCase] = {}
    for outcome in run_over(work, cases, _case_id, workers, "checking"):
        if outcome.value is None:
            failed[outcome.name] = outcome.error or "failed"
            continue
        found[outcome.name] = outcome.value
        if not outcome.value.fingerprint.has_foreground:
            logger.warning("%s: the label map is empty; the case is kept", outcome.name)
    return dict(sorted(found.items()))


def _case_id(case: Case) -> str:
    return case.id


def _is_done(folder: Path, case_id: str, key: str) -> bool:
    try:
        with open_case_file(schema.case_file(folder, case_id)) as file:
            return bool(file.attrs[schema.KEY] == key)
    except (CacheError, KeyError):
        return False


def _prepare(
    todo: Sequence[Case],
    plan: Plan,
    keys: dict[str, str],
    folder: Path,
    spec: PreprocessSpec,
    surveyed: dict[str, SurveyedCase],
    failed: dict[str, str],
) -> None:
    """Prepare and write the cases that are missing or changed."""
    fingerprints = [surveyed[case.id].fingerprint for case in todo]
    workers = count_workers(spec.workers, bytes_to_prepare(fingerprints, plan), len(todo))
    work = partial(store_case, plan=plan, keys=keys, folder=folder, stored_type=spec.stored_type)
    for outcome in run_over(work, todo, _case_id, workers, "preparing"):
        if outcome.error is not None:
            failed[outcome.name] = outcome.error


def store_case(
    case: Case, plan: Plan, keys: dict[str, str], folder: Path, stored_type: StoredType
) -> None:
    """Prepare one case and write its file.

    Raises:
        ScanError: the case cannot be used. StorageError: the disk refuses.
    """
    prepared = prepare_case(case, plan)
    _check_range(case, prepared.image, stored_type)
    label = prepared.label
    ignored = len(plan.class_values) if plan.ignore is not None else None
    record = CaseRecord(
        case_id=case.id,
        key=keys[case.id],
        image=prepared.image.astype(np.dtype(stored_type)),
        label=label,
        foreground={} if label is None else sample_foreground(label, ignored),
        geometry=prepared.geometry.to_json(),
        sources={
            "images": [str(channel.path.absolute()) for channel in case.channels],
            "label": str(case.label.absolute()) if case.label else None,
        },
    )
    write_case(folder, record)


def _check_range(case: Case, image: NDArray[np.float32], stored_type: StoredType) -> None:
    limit = float(np.finfo(stored_type).max)
    if float(np.abs(image).max()) > limit:
        raise ScanError(
            f"{case.channels[0].path} has intensities above {limit:g}, too large for {stored_type}",
            "Add --dtype float32.",
        )


def _finish(
    folder: Path,
    spec: PreprocessSpec,
    plan: Plan,
    fingerprint: Fingerprint,
    good: dict[str, SurveyedCase],
) -> None:
    """Write the description and the index, and remove cases that are no longer in the dataset."""
    cases = {}
    for case_id, one in good.items():
        looked = one.fingerprint
        shape = resampled_shape(looked.cropped_shape, looked.spacing_mm, plan.spacing_mm)
        cases[case_id] = {
            "labelled": True,
            "shape": [len(plan.channels), *shape],
            "has_foreground": looked.has_foreground,
            "sources": one.stamps,
        }
    content = {
        "plan": plan.model_dump(mode="json"),
        "fingerprint": fingerprint.to_json(),
        "raw": str(spec.raw.absolute()),
        "stored_type": spec.stored_type,
        "cases": cases,
    }
    write_description(folder, content)
    write_index(folder, tuple(good))
    for path in folder.glob("*.h5"):
        if path.stem not in good and path != schema.index_file(folder):
            path.unlink(missing_ok=True)


def _fail_if_any(failed: dict[str, str], total: int) -> None:
    if failed:
        raise FailedCases(
            dict(sorted(failed.items())),
            total,
            "The others are done; put these right and run the same command again.",
        )
