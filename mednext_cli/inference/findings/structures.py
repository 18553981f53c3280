"""Structures by name: which are wanted, and what their files are called."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.settings.labels import LabelSet, region_name

COLOURS = (
    *((230, 85, 60), (70, 160, 240), (120, 200, 70), (250, 190, 50), (190, 110, 220)),
    *((60, 200, 190), (240, 130, 180), (170, 140, 90), (150, 150, 250), (200, 220, 110)),
)


def colour_of(value: int) -> tuple[int, int, int]:
    """Red, green and blue of a label value, wherever it is shown."""
    return COLOURS[(value - 1) % len(COLOURS)]


def read_only(text: str) -> tuple[str, ...]:
    """Names of structures as ``--only`` gives them, with commas between.

    Raises:
        SettingsError: there are none.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise SettingsError(f"--only {text!r} names no structure", "Like --only liver,spleen.")
    return names


def choose_structures(labels: LabelSet, only: Sequence[str] | None = None) -> dict[str, int]:
    """Label values by name of the structures that are wanted, in the order of their values.

    Args:
        labels: of the networks.
        only: names of labels, or of regions, which stand for all of their labels; where both have
            a name, it is the label's. None wants all.

    Raises:
        SettingsError: there is no label or region of a name.
    """
    by_value = dict(sorted(labels.names.items(), key=lambda item: item[1]))
    if only is None:
        return by_value
    wanted = {value for name in only for value in _values_of(labels, name)}
    return {name: value for name, value in by_value.items() if value in wanted}


def _values_of(labels: LabelSet, name: str) -> tuple[int, ...]:
    for asked in (name, region_name(name)):
        if asked in labels.names:
            return (labels.names[asked],)
        if asked in labels.regions:
            return tuple(labels.regions[asked])
    raise SettingsError(
        f"--only {name}: there is no such structure",
        nearest(name, {**labels.names, **labels.regions}),
    )


def keep_only(labels: NDArray[Any], values: Collection[int]) -> NDArray[Any]:
    """The label map with every other value made background; the same type and order in memory."""
    table = np.zeros(int(labels.max(initial=0)) + 1, dtype=labels.dtype)
    kept = [value for value in values if value < len(table)]
    table[kept] = kept
    return np.take(table, labels.T).T  # files keep their first axis fastest


def mask_names(structures: Mapping[str, int]) -> dict[int, str]:
    """What the file of each label value is called, without ending; no two are called the same."""
    plain = {value: region_name(name) or "label" for name, value in structures.items()}
    if len(set(plain.values())) == len(plain):
        return plain
    return {value: f"{name}_{value}" for value, name in plain.items()}


def count_voxels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Voxels by label value, counted plane by plane: counting takes 8 bytes a voxel."""
    counts = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    for plane in np.moveaxis(labels, int(np.argmax(np.abs(labels.strides))), 0):
        counts += np.bincount(plane.ravel(order="K"), minlength=len(counts))
    return counts
