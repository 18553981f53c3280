"""Structures that `mednext predict --only` left out on purpose: they are not scored as missed."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mednext_cli.evaluation.scoring.label_maps import few
from mednext_cli.evaluation.scoring.references import RECORD
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import read_json
from mednext_cli.settings.labels import LabelSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What the label maps of a folder were to hold.

    Attributes:
        record: the file that says so.
        names: of the structures.
        values: their label values, without background.
    """

    record: Path
    names: tuple[str, ...]
    values: frozenset[int]

    def restrict(self, label_set: LabelSet) -> LabelSet:
        """The label set with the regions that consist of these labels alone; the others are said.

        Raises:
            SettingsError: there are none.
        """
        regions = {
            name: values
            for name, values in label_set.regions.items()
            if self.values.issuperset(values)
        }
        if not regions:
            raise SettingsError(
                f"{self.record} says that {', '.join(self.names)} alone were kept, and no region "
                f"to score is of these: {few(list(label_set.regions))}",
                "Predict without --only, or name the regions to score with --labels.",
            )
        self.say(name for name in label_set.regions if name not in regions)
        return replace(label_set, regions=regions)

    def say(self, others: Iterable[str]) -> None:
        """Which regions are not scored, in one line."""
        left_out = list(others)
        if left_out:
            logger.warning(
                "%s: made with --only %s; not scored: %s",
                self.record,
                ",".join(self.names),
                few(left_out),
            )


def recorded_only(predictions: Path, mapping: Mapping[int, int] | None = None) -> Kept | None:
    """What `mednext predict --only` wrote down; None where all labels were kept or nobody knows.

    Args:
        predictions: the folder of the label maps, or one of them.
        mapping: label value in the references by label value in the predictions; None where both
            mean the same.

    Returns:
        With the label values of the references.
    """
    path = (predictions if predictions.is_dir() else predictions.parent) / RECORD
    if not path.is_file():
        return None
    try:
        content: Any = read_json(path)
        names = [str(name) for name in content["settings"]["only"]]
        table = content["provenance"]["label_set"]["labels"]
        values = frozenset(int(table[name]) for name in names)
    except (DatasetError, LookupError, TypeError, ValueError):
        return None
    if mapping is not None:
        values = frozenset(mapping.get(value, 0) for value in values) - {0}
    return Kept(path, tuple(names), values)
