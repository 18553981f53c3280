"""Which files beside scans are label maps, by their names or by what they hold."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.scan_names import stem_of
from mednext_cli.volumes.scans import format_of, read_grid, read_volume
from mednext_cli.volumes.volume import Shape

BY_NAME = "label maps by their names; give such a file itself to predict it"
BY_CONTENT = "label maps: a few whole numbers on the grid of a scan beside them"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LABEL = re.compile(
    r".*(seg|segs|mask|masks|segmentation|segmentations|label|labels|labelmap|annotation"
    r"|annotations)|gt|lbl|truth|groundtruth|contours?|delineations?|aparc|ribbon|pred|preds"
    r"|prediction|predictions"
)
_LONGER = re.compile(r"[-_. ]\D")  # what a label map's name has after its scan's
_FEW_FILES = 4  # of one case in a folder of its own
_MOST_LABELS = 64


def names_labels(name: str) -> bool:
    """Whether a word of the name says label map: ``segmentation``, ``CASE_gt``, ``labelsTr``."""
    return any(_LABEL.fullmatch(word.lower()) for word in _WORD.findall(name))


def find_annotations(scans: Sequence[Path], other_scans: bool) -> dict[Path, str]:
    """The label maps among the scans of one folder, and how they are known.

    Without a scan beside it nothing is taken for a label map: somebody may have named scans so.

    Args:
        scans: the files of a folder that are scans by their endings.
        other_scans: whether the folder holds scans beside them (a DICOM series).
    """
    named = [path for path in scans if names_labels(stem_of(path.name))]
    rest = [path for path in scans if path not in set(named)]
    if not rest and not other_scans:
        return {}
    found = dict.fromkeys(named, BY_NAME)
    held = [path for path in _candidates(rest) if _holds_labels(path, rest)]
    return found if len(held) == len(rest) else found | dict.fromkeys(held, BY_CONTENT)


def _candidates(scans: Sequence[Path]) -> Iterable[Path]:
    """Those worth a look inside: of a folder of one case, or named like another with more to it."""
    if len(scans) <= 1:
        return []
    if len(scans) <= _FEW_FILES:
        return scans
    stems = {stem_of(path.name) for path in scans}
    return [path for path in scans if _base_of(stem_of(path.name)) in stems]


def _base_of(stem: str) -> str:
    """``a_1`` of ``a_1_liver``; "" where the name ends in no word of its own."""
    ends = [match.start() for match in _LONGER.finditer(stem)]
    return stem[: ends[-1]] if ends else ""


def _holds_labels(path: Path, scans: Sequence[Path]) -> bool:
    """Whether a file holds a few whole numbers from 0 on, on the grid of another."""
    try:
        shape = read_grid(path).shape
        start = format_of(path).read_first_plane(path)  # tells most scans apart without the rest
        if start is not None and not _are_labels(start):
            return False
        if not any(_has_shape(other, shape) for other in scans if other != path):
            return False
        values = read_volume(path).array
    except Exception:  # whatever it is, it is told when the scan is read
        return False
    return _are_labels(values) and values.min() != values.max()


def _has_shape(path: Path, shape: Shape) -> bool:
    try:
        return read_grid(path).shape == shape
    except Exception:
        return False


def _are_labels(values: NDArray[Any]) -> bool:
    if not (values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max):
        return False
    found = np.unique(values)
    return len(found) <= _MOST_LABELS and bool(np.all(found == np.rint(found)))
