"""What a folder of predictions holds of each case, whichever call made it."""

import csv
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np

from mednext_cli.foundation.errors import ScanError
from mednext_cli.foundation.progress import track
from mednext_cli.inference.findings.files import ENTROPY, CaseFiles
from mednext_cli.volumes.scans import read_label_map, read_volume

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportedCase:
    """A case that is done.

    Attributes:
        case_id: of the case.
        volumes_ml: by structure; 0 for one that was not found. Empty where nobody counted.
        uncertainty: mean entropy over the voxels of its structures, 0 (certain) to 1; nan where
            there is no map of it, or no structure was found.
        preview: the picture, there or not.
    """

    case_id: str
    volumes_ml: Mapping[str, float]
    uncertainty: float
    preview: Path


def read_cases(folder: Path, case_ids: Iterable[str]) -> list[ReportedCase]:
    """Gather what is told of cases; what is missing or damaged is left out.

    Args:
        folder: of the predictions.
        case_ids: those whose label maps are there.
    """
    files = [CaseFiles(folder, case_id) for case_id in case_ids]
    found = []
    with track("gathering the report", len(files)) as progress:
        for one in files:
            volumes = _read_volumes(one.volumes)
            found.append(ReportedCase(one.case_id, volumes, _mean_entropy(one), one.preview))
            progress.advance()
    return found


def _read_volumes(path: Path) -> dict[str, float]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return {row["structure"]: float(row["volume_ml"]) for row in csv.DictReader(stream)}
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        logger.warning("%s cannot be read: the report does without", path)
        return {}


def _mean_entropy(files: CaseFiles) -> float:
    path = files.uncertainty(ENTROPY)
    if not path.is_file():
        return nan
    try:
        values, labels = read_volume(path).array, read_label_map(files.label_map).array
    except ScanError as error:
        logger.warning("%s The report does without.", error)
        return nan
    inside = labels > 0
    if values.shape != labels.shape or not inside.any():
        return nan
    return float(values[inside].mean(dtype=np.float64))
