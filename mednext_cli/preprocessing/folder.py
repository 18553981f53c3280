"""The cache folder around the cases: what may be written there, its description, what leaves it."""

import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from mednext_cli.cache import schema
from mednext_cli.cache.description import (
    CaseEntry,
    Description,
    StoredType,
    check_description,
    write_description,
)
from mednext_cli.cache.writer import write_index
from mednext_cli.datasets.dataset import Dataset
from mednext_cli.foundation.errors import CacheError, DatasetError
from mednext_cli.foundation.files import read_json
from mednext_cli.foundation.locks import LOCK_NAME
from mednext_cli.preprocessing.survey import SurveyedCase
from mednext_cli.settings.fingerprint import Fingerprint
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.resample import resampled_shape

logger = logging.getLogger(__name__)


def check_folder(folder: Path, raw: Path, *, force: bool, dry_run: bool) -> None:
    """Refuse to write over raw data, a folder that is not ours, or another raw folder's cache.

    `--force` makes a cache of ours anew; it never takes what is not ours.

    Raises:
        CacheError: one of these.
    """
    raw, target = raw.resolve(), folder.resolve()
    if raw == target or target in raw.parents:
        raise CacheError(f"{folder} is or holds the raw data", "Choose another --cache.")
    path = schema.description_file(folder)
    if not path.is_file():
        return
    try:
        content = read_json(path)
    except DatasetError as error:
        if not force:
            raise CacheError(error.message, "Add --force to make the cache anew.") from error
        return
    ours = isinstance(content, dict) and content.get("format") == schema.FORMAT
    if not ours:
        raise CacheError(f"{path} is not of a mednext cache", "Choose another --cache.")
    if force:
        return
    try:
        described = check_description(path, content)
    except CacheError as error:
        raise CacheError(error.message, "Add --force to make the cache anew.") from error
    other = Path(described.raw or raw)
    if other != raw and other.exists() and not dry_run:  # not one that was moved
        raise CacheError(
            f"{folder} holds the cases of {other}, not of {raw}",
            "Choose another --cache, or add --force to replace them.",
        )


def describe(
    folder: Path,
    raw: Path,
    stored_type: StoredType,
    plan: Plan,
    fingerprint: Fingerprint,
    surveyed: Mapping[str, SurveyedCase],
    stored: set[str],
) -> None:
    """Write ``dataset.json`` and ``index.h5`` of the cases that are there."""
    cases: dict[str, CaseEntry] = {}
    for case_id in sorted(stored):
        found = surveyed[case_id].fingerprint
        shape = resampled_shape(found.cropped_shape, found.spacing_mm, plan.spacing_mm)
        cases[case_id] = CaseEntry(
            shape=(len(plan.channels), *shape),
            labelled=True,
            foreground_voxels=found.foreground_voxels,
            content=surveyed[case_id].content,
            label_resampled=found.label_resampled,
        )
    description = Description(
        raw=str(raw.resolve()),
        stored_type=stored_type,
        plan=plan,
        fingerprint=fingerprint,
        cases=cases,
    )
    write_description(folder, description)
    write_index(folder, tuple(cases))


def drop_strangers(folder: Path, dataset: Dataset) -> None:
    """Remove the files of cases that an earlier run made and that are no longer in the dataset."""
    path = schema.description_file(folder)
    try:
        description = check_description(path, read_json(path))
    except (DatasetError, CacheError):
        return
    for case_id in set(description.cases) - {case.id for case in dataset.labelled}:
        logger.info("%s is no longer in the dataset: removed from the cache", case_id)
        schema.case_file(folder, case_id).unlink(missing_ok=True)


def forget(folder: Path, case_ids: Iterable[str]) -> None:
    """Take cases that turned bad out of the cache: no file of theirs is left to be read."""
    path = schema.description_file(folder)
    gone = [case_id for case_id in case_ids if schema.case_file(folder, case_id).exists()]
    try:
        description = check_description(path, read_json(path))
    except (DatasetError, CacheError):
        description = None
    if gone and description is not None:
        left = {name: entry for name, entry in description.cases.items() if name not in gone}
        write_description(folder, description.model_copy(update={"cases": left}))
        write_index(folder, tuple(sorted(left)))
    for case_id in gone:
        logger.warning("%s: what an earlier run made of it is removed from the cache", case_id)
        schema.case_file(folder, case_id).unlink(missing_ok=True)


def remove_if_empty(folder: Path, fingerprints: Path) -> None:
    """Take away a cache that holds no case; files that are not ours keep it.

    Call it under the folder's lock. Whoever waits for the lock makes the folder anew.
    """
    index, description = schema.index_file(folder), schema.description_file(folder)
    if any(path != index for path in folder.glob(f"*{schema.case_file(folder, 'x').suffix}")):
        return
    ours = [index, description, folder / LOCK_NAME, *fingerprints.glob("*.json")]
    with contextlib.suppress(OSError):
        if set(folder.iterdir()) <= {*ours, fingerprints}:
            for path in ours:
                path.unlink(missing_ok=True)
            if fingerprints.is_dir():
                fingerprints.rmdir()
            folder.rmdir()
