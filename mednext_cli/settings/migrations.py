"""What version 1 wrote, in the form of version 2.

Nothing is checked: what is of another form than version 1 had stays as it is, and is refused where
it is validated.
"""

from collections.abc import Mapping
from typing import Any

_LABELS = {
    "labels": "names",
    **{name: name for name in ("regions", "ignore", "region_training")},
    **{name: name for name in ("region_values", "tolerance_mm")},
}


def plan_from_1(values: object) -> object:
    """A plan: labels and regions move into a `label_set` of their own."""
    if not isinstance(values, Mapping) or values.get("version", 1) != 1:
        return values
    labels = {new: values[old] for old, new in _LABELS.items() if old in values}
    rest = {name: value for name, value in values.items() if name not in _LABELS}
    return {**rest, "version": 2, "label_set": labels}


def checkpoint_from_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint: what the run began with, and what was changed on the way, leave the metadata.

    Args:
        content: with tables as ``progress`` and ``metadata``.
    """
    metadata = dict(content["metadata"])
    moved = {name: metadata.pop(name, None) for name in ("origin", "changes")}
    progress = {name: one for name, one in content["progress"].items() if name != "finished"}
    if progress and moved["changes"]:
        progress["changes"] = moved["changes"]
    return {
        **content,
        "version": 2,
        "plan": plan_from_1(content.get("plan")),
        "progress": progress,
        "origin": moved["origin"],
        "metadata": metadata,
    }


def cache_from_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a cache: its plan."""
    return {**content, "version": 2, "plan": plan_from_1(content.get("plan"))}
