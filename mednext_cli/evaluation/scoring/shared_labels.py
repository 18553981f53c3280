"""Predictions of a network that was trained on another dataset: the labels that both name."""

import logging
from pathlib import Path

from mednext_cli.datasets.label_map import (
    LabelMap,
    SharedLabels,
    named_labels_of,
    share_labels,
)
from mednext_cli.evaluation.scoring.references import recorded_labels
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.settings.labels import LabelSet

logger = logging.getLogger(__name__)


def find_shared_labels(
    label_map: LabelMap, predictions: Path, references: LabelSet | None
) -> SharedLabels:
    """Which label of the predictions is which of the references, and what is not scored.

    Args:
        label_map: labels by name.
        predictions: their folder, whose record says what they are called where the map does not.
        references: what the references' values mean, if that is known.

    Raises:
        SettingsError: nothing says what the labels are called, or one of the map is not there.
    """
    recorded = recorded_labels(predictions)
    source = named_labels_of(label_map.source) or (recorded.label_set if recorded else None)
    if source is None or references is None:
        side, option = ("predictions", "source") if source is None else ("references", "target")
        raise SettingsError(
            f"--label-map: nothing says what the labels of the {side} are called",
            f"Write {option} in the label map: a layout, or a table of NAME = VALUE.",
        )
    shared = share_labels(label_map, source, references)
    _say(shared, source, references)
    return shared


def _say(shared: SharedLabels, source: LabelSet, target: LabelSet) -> None:
    ignored = [name for name, value in target.names.items() if value in shared.ignored]
    alone = [name for name, value in source.names.items() if not shared.mapping[value]]
    if ignored:
        logger.info("voxels of %s are ignored: the network has no such label", ", ".join(ignored))
    if alone:
        logger.info("%s of the predictions count as background", ", ".join(alone))
