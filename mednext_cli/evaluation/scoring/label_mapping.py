"""Predictions in one dataset's labels, references in another's: which value becomes which."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mednext_cli.datasets.registry import load_layout
from mednext_cli.evaluation.metrics.overlap import LabelArray, label_values
from mednext_cli.foundation.errors import ScanError, SettingsError
from mednext_cli.foundation.files import read_toml
from mednext_cli.settings.labels import LabelSet

_FORM = (
    'Write a table [labels] of lines like "6" = 1: value in the predictions = value in the '
    "references, 0 for background."
)
# One organ under several names; names are compared with their words sorted (kidney_right).
_WORDS = {"tumor": "tumour", "oesophagus": "esophagus", "arota": "aorta", "gland": ""}
_SYNONYMS = {
    "gall_bladder": "gallbladder",
    "urinary_bladder": "bladder",
    "postcava": "inferior_vena_cava",
    "ivc": "inferior_vena_cava",
    "prostate": "prostate_uterus",
}
logger = logging.getLogger(__name__)


def read_mapping(text: str) -> Mapping[int, int]:
    """The mapping that `--map` names: a TOML file, or two layouts as ``btcv:amos22``.

    Returns:
        Label value in the references by label value in the predictions; 0 drops a label.

    Raises:
        SettingsError: no such file, not of that form, or layouts without labels in common.
        PluginError: there is no such layout.
    """
    if text.endswith(".toml"):
        return _read_file(Path(text))
    source, colon, target = text.partition(":")
    if not (source and colon and target):
        raise SettingsError(f"--map {text}", "Give PREDICTIONS:REFERENCES, or a .toml file.")
    labels = [_labels_of(name) for name in (source, target)]
    mapping = map_by_name(labels[0], labels[1])
    if not any(mapping.values()):
        raise SettingsError(f"{source} and {target} name no label alike", "Give a .toml file.")
    return mapping


def map_by_name(predictions: LabelSet, references: LabelSet) -> Mapping[int, int]:
    """Labels of the same name, spelling and synonyms aside; the predictions' others become 0."""
    known = {_plain(name): value for name, value in references.names.items()}
    mapping = {value: known.get(_plain(name), 0) for name, value in predictions.names.items()}
    dropped = [name for name, value in predictions.names.items() if not mapping[value]]
    if dropped:
        logger.warning("labels of the predictions alone, left out: %s", ", ".join(dropped))
    return mapping


def restrict(label_set: LabelSet, mapping: Mapping[int, int]) -> LabelSet:
    """The label set without regions that mapped predictions cannot hold.

    Raises:
        SettingsError: no region remains.
    """
    reached = {value for value in mapping.values() if value}
    kept = {
        name: values for name, values in label_set.regions.items() if reached.issuperset(values)
    }
    if not kept:
        raise SettingsError("the map of labels reaches no region of the references whole", _FORM)
    lost = [name for name in label_set.regions if name not in kept]
    if lost:
        logger.warning("regions that the predictions have no label for: %s", ", ".join(lost))
    return replace(label_set, regions=kept)


def apply_mapping(array: LabelArray, mapping: Mapping[int, int], path: Path) -> LabelArray:
    """Replace every label value.

    Raises:
        ScanError: a value other than 0 is not in the mapping.
    """
    found = label_values(array)
    unknown = [value for value in found if value and value not in mapping]
    if unknown:
        listed = ", ".join(map(str, unknown[:10]))
        raise ScanError(
            f"{path} holds label values that the map of labels does not name: {listed}",
            "Check which network made it; --map can name more, 0 makes them background.",
        )
    kind = np.min_scalar_type(max(mapping.values(), default=0))
    targets = np.array([mapping.get(value, 0) for value in found], kind)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        table = np.zeros(2 ** (8 * array.dtype.itemsize), kind)
        table[list(found)] = targets
        return np.asarray(table[array])
    return np.asarray(targets[np.searchsorted(found, array)])


def _labels_of(name: str) -> LabelSet:
    labels = load_layout(name).label_set
    if labels is None:
        raise SettingsError(f"the layout {name} has no labels of its own", "Give a .toml file.")
    return labels


def _plain(name: str) -> str:
    """A name without its variants: words exchanged and sorted."""
    words = (_WORDS.get(word, word) for word in name.lower().split("_"))
    text = "_".join(word for word in words if word)
    return "_".join(sorted(_SYNONYMS.get(text, text).split("_")))


def _read_file(path: Path) -> Mapping[int, int]:
    table = read_toml(path).get("labels")
    if not isinstance(table, dict) or not table:
        raise SettingsError(f"{path} has no table [labels]", _FORM)
    mapping = {}
    for key, value in table.items():
        if not key.isdecimal() or type(value) is not int or not 0 <= value < 2**16:
            raise SettingsError(f"{path}: {key} = {value!r} is no pair of label values", _FORM)
        mapping[int(key)] = value
    if not any(mapping.values()):
        raise SettingsError(f"{path} maps every label to background", _FORM)
    return mapping
