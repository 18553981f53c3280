"""Look at each raw case once: its files' stamps and its fingerprint, kept beside the cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mednext_cli.datasets.dataset import Case, LabelSet
from mednext_cli.foundation.errors import DatasetError, ScanError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.preprocessing.fingerprint import CaseFingerprint, fingerprint_case
from mednext_cli.preprocessing.plan import Plan
from mednext_cli.preprocessing.stamps import Stamp, contents, stamp_case
from mednext_cli.volumes.nifti import read_grid
from mednext_cli.volumes.resample import resampled_shape

_FOLDER = "fingerprints"
_VERSION = 1
_INTERPRETER_BYTES = 200 * 2**20  # Python with its libraries
_SURVEY_BYTES, _PREPARE_BYTES = 14, 22  # a voxel and channel, at the peak


@dataclass(frozen=True)
class SurveyedCase:
    """Stamps of a case's raw files, and its fingerprint."""

    stamps: list[Stamp]
    fingerprint: CaseFingerprint


def survey_case(
    case: Case, labels: LabelSet, folder: Path, keep: bool, anew: bool = False
) -> SurveyedCase:
    """Check a case and take its fingerprint, unless its files are as they were the last time.

    Args:
        case: a labelled case.
        labels: which label values there may be.
        folder: the cache folder.
        keep: whether to write the result there.
        anew: whether to look again, whatever is known.

    Raises:
        ScanError: the case cannot be used. StorageError: the disk refuses.
    """
    path = folder / _FOLDER / f"{case.id}.json"
    known = {} if anew else _read_known(path, labels)
    stamps = stamp_case(case, known.get("stamps", ()))
    if known and contents(known["stamps"]) == contents(stamps):
        fingerprint = CaseFingerprint.from_json(known["fingerprint"])
        if known["stamps"] == stamps:
            return SurveyedCase(stamps, fingerprint)
    else:
        fingerprint = fingerprint_case(case, labels)
    if keep:
        content = {
            "version": _VERSION,
            "label_values": list(labels.values),
            "stamps": stamps,
            "fingerprint": fingerprint.to_json(),
        }
        write_json(path, content)
    return SurveyedCase(stamps, fingerprint)


def _read_known(path: Path, labels: LabelSet) -> dict[str, Any]:
    """What was written before, if this version wrote it under the same labels."""
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except DatasetError:
        return {}
    fits = isinstance(content, dict) and content.get("version") == _VERSION
    return content if fits and content.get("label_values") == list(labels.values) else {}


def bytes_to_survey(cases: Sequence[Case]) -> int:
    """Peak memory of a worker that looks at the largest of these cases, from the headers."""
    largest = max((_voxels(case) for case in cases), default=0)
    return _INTERPRETER_BYTES + _SURVEY_BYTES * largest


def _voxels(case: Case) -> int:
    try:
        grid = read_grid(case.channels[0].path, case.channels[0].index)
    except (ScanError, IndexError):
        return 0  # reported when the case is read
    return int(np.prod(grid.shape)) * len(case.channels)


def bytes_to_prepare(cases: Sequence[CaseFingerprint], plan: Plan) -> int:
    """Peak memory of a worker that prepares the largest of these cases."""
    channels = len(plan.channels)
    most = 0
    for case in cases:
        before = int(np.prod(case.shape))
        after = int(np.prod(resampled_shape(case.cropped_shape, case.spacing_mm, plan.spacing_mm)))
        most = max(most, before, after)
    return _INTERPRETER_BYTES + _PREPARE_BYTES * most * channels
