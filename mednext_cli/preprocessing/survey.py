"""Look at each raw case once: its files' stamps and its fingerprint, kept beside the cache."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_json, replacing
from mednext_cli.preprocessing.fingerprint import FINGERPRINTS, CaseFingerprint, fingerprint_case
from mednext_cli.preprocessing.stamps import (
    Stamps,
    content_of,
    files_of,
    is_unchanged,
    read_stamps,
    take_stamps,
)
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.footprint import PREPARE, SURVEY, peek_voxels
from mednext_cli.volumes.resample import resampled_shape

_FOLDER = "fingerprints"
_VERSION = 5


@dataclass(frozen=True, eq=False)
class SurveyedCase:
    """What was found in a case.

    Attributes:
        content: see `content_of`.
        fingerprint: of the case.
    """

    content: list[Any]
    fingerprint: CaseFingerprint


def recall_case(
    case: Case, labels: LabelSet, folder: Path, resample_label: bool = False
) -> SurveyedCase | None:
    """What an earlier survey found, if the files are as they were; reads no raw file."""
    known = _read_known(folder, case, labels, resample_label)
    if known is None:
        return None
    stamps, found = known
    try:
        same = all(is_unchanged(path, stamps) for path in files_of(case))
        return found if same and content_of(case, stamps) == found.content else None
    except Exception:  # a folder that cannot be listed any more, say: the survey tells
        return None


def survey_case(
    case: Case,
    labels: LabelSet,
    folder: Path,
    keep: bool,
    anew: bool = False,
    resample_label: bool = False,
) -> SurveyedCase:
    """Check a case and take its fingerprint; of files with known content, it is known already.

    Args:
        case: the case.
        labels: which label values there may be.
        folder: the cache folder.
        keep: whether to write the result there.
        anew: whether to look again, whatever is known.
        resample_label: see `read_case`.

    Raises:
        ScanError: the case cannot be used. StorageError: the disk refuses.
    """
    stamps = take_stamps(case)
    content = content_of(case, stamps)
    known = None if anew else _read_known(folder, case, labels, resample_label)
    if known is not None and known[1].content == content:
        found = known[1]
    else:
        found = SurveyedCase(content, fingerprint_case(case, labels, resample_label))
    if keep:
        _write(folder, case, labels, stamps, found)
    return found


def fingerprints_folder(folder: Path) -> Path:
    """Where a cache folder keeps what its cases looked like."""
    return folder / _FOLDER


def _path(folder: Path, case: Case) -> Path:
    return fingerprints_folder(folder) / f"{case.id}.json"


def _write(folder: Path, case: Case, labels: LabelSet, stamps: Stamps, found: SurveyedCase) -> None:
    record = {
        "version": _VERSION,
        "labels": _label_facts(labels),
        "stamps": {path: vars(stamp) for path, stamp in stamps.items()},
        "content": found.content,
        "fingerprint": FINGERPRINTS.dump_python(found.fingerprint, mode="json"),
    }
    with replacing(_path(folder, case), sync=False) as beside:
        beside.write_text(json.dumps(record), encoding="utf-8")


def _label_facts(labels: LabelSet) -> list[Any]:
    """What a survey's result depends on: which values there may be, and which is no foreground."""
    return [list(labels.values), labels.ignore]


def _read_known(
    folder: Path, case: Case, labels: LabelSet, resample_label: bool
) -> tuple[Stamps, SurveyedCase] | None:
    """What was written before, if this version wrote it and under the same labels.

    A label map that was resampled is looked at again, and refused, where that is not asked for.
    """
    path = _path(folder, case)
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        if [record["version"], record["labels"]] != [_VERSION, _label_facts(labels)]:
            return None
        stamps = read_stamps(record["stamps"])
        fingerprint = FINGERPRINTS.validate_python(record["fingerprint"])
    except (DatasetError, AttributeError, LookupError, TypeError, ValueError):
        return None  # damaged, whatever it holds instead
    if fingerprint.label_resampled and not resample_label:
        return None
    return stamps, SurveyedCase(record["content"], fingerprint)


def bytes_to_survey(case: Case) -> int:
    """Peak memory of a process that looks at the case, from its header."""
    channel = case.channels[0]
    return SURVEY.bytes_for(peek_voxels(channel.path, channel.index) * len(case.channels))


def bytes_to_prepare(case: CaseFingerprint, plan: Plan) -> int:
    """Peak memory of a process that prepares the case."""
    after = resampled_shape(case.cropped_shape, case.spacing_mm, plan.spacing_mm)
    return PREPARE.bytes_for(max(prod(case.shape), prod(after)) * len(plan.channels))
