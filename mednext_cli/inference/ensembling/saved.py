"""Folders of predictions with probabilities: what is in them, read class by class."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mednext_cli.foundation.errors import ScanError, SettingsError
from mednext_cli.inference.ensembling.saved_files import Saved
from mednext_cli.inference.findings.files import EARLIER_PROBABILITIES, PROBABILITIES
from mednext_cli.inference.record_file import RECORD_NAME, read_record
from mednext_cli.settings.labels import LabelSet, contradictions
from mednext_cli.volumes.orientation import difference


def find_saved(folder: Path) -> dict[str, Path]:
    """Files of probabilities by case id; where there are two of a case, the HDF5 is the later.

    Raises:
        SettingsError: there are none.
    """
    found = {
        path.name.removesuffix(suffix): path
        for suffix in (EARLIER_PROBABILITIES, PROBABILITIES)
        for path in sorted(folder.glob(f"[!.]*{suffix}"))
    }
    if not found:
        raise SettingsError(
            f"{folder} holds no CASE{PROBABILITIES}",
            "Give folders of mednext predict --probabilities.",
        )
    return found


def read_saved_labels(folder: Path) -> LabelSet:
    """What the probabilities of a folder are of.

    Raises:
        SettingsError: its predict.json does not say so, or is not there.
    """
    record = folder / RECORD_NAME
    if not record.is_file():
        raise SettingsError(
            f"{record} is missing, which says what the probabilities are of",
            "Give the folder as mednext predict --probabilities wrote it.",
        )
    table: Any = read_record(folder).provenance.get("label_set")
    try:
        labels = LabelSet(
            names=table["labels"],
            regions=table["regions"],
            region_training=table["region_training"],
            region_values=tuple(table["region_values"]),
        )
        problems = contradictions(labels)
    except (LookupError, TypeError, ValidationError):
        problems = ["it has no whole label set"]
    if problems:
        raise SettingsError(
            f"{record} does not say what the probabilities are of: {problems[0]}",
            "Predict again with this mednext.",
        )
    return labels


def average(members: Sequence[Saved], shares: Sequence[float]) -> Iterator[NDArray[np.float32]]:
    """The weighted average of several files, class by class.

    Args:
        members: of one case.
        shares: of each; they sum to 1.

    Raises:
        ScanError: a file is damaged, or lies on another grid than the first.
    """
    first = members[0]
    for other in members[1:]:
        if not other.grid.same_as(first.grid):
            raise ScanError(
                f"{other.path} lies on another grid than {first.path}: "
                f"{difference(other.grid, first.grid)}",
                "They are of different scans, it seems.",
            )
    for classes in zip(*members, strict=True):
        total = np.zeros(first.grid.shape, dtype=np.float32)
        for scores, share in zip(classes, shares, strict=True):
            total += np.float32(share) * scores
        yield total
