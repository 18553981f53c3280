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
_OF_EVERY_NETWORK = ("network", "deep_supervision", "checkpointing", "operators")
_ENDS = ("in_channels", "out_channels", "deep_supervision")


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
    progress = {name: value for name, value in content["progress"].items() if name != "finished"}
    if progress and moved["changes"]:
        progress["changes"] = moved["changes"]
    return {
        **content,
        "version": 2,
        "network": network_from_1(content["architecture"]),
        "plan": plan_from_1(content.get("plan")),
        "recipe": recipe_from_1(content.get("recipe")),
        "progress": progress,
        "origin": moved["origin"],
        "metadata": metadata,
    }


def recipe_from_1(values: object) -> object:
    """A recipe: what of the network could be chosen moves into a table of the network's own."""
    if not isinstance(values, Mapping):
        return values
    model = values.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("network", ""), str):
        return values
    renamed = {("operators" if name == "kernels" else name): value for name, value in model.items()}
    own = {name: value for name, value in renamed.items() if name not in _OF_EVERY_NETWORK}
    beside = {name: value for name, value in renamed.items() if name in _OF_EVERY_NETWORK}
    if beside.get("deep_supervision") is True:  # as it was wherever nothing was said
        del beside["deep_supervision"]
    return {**values, "model": {**beside, model.get("network", "mednext"): own}}


def network_from_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a network is built from: settings of its family, and the rest."""
    rest = {name: value for name, value in values.items() if name in _ENDS}
    own = {name: value for name, value in values.items() if name not in (*_ENDS, "network")}
    return {"name": values.get("network", "mednext"), "settings": own, **rest}


def cache_from_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a cache: its plan."""
    return {**content, "version": 2, "plan": plan_from_1(content.get("plan"))}
