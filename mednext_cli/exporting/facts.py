"""What another program must know to use a network: how images are prepared, what comes out."""

import json
from typing import Any

from mednext_cli import __version__
from mednext_cli.inference.engine import activation_of
from mednext_cli.inference.models import Model
from mednext_cli.settings.mirror_axes import AXES
from mednext_cli.settings.plan import Plan

_DIRECTIONS = ("inferior to superior", "posterior to anterior", "left to right")


def describe_model(model: Model) -> dict[str, Any]:
    """Facts of a trained network in plain types; axes are in the order of the network's input.

    Returns:
        By name: `input_axes` of the image (B, C, D, H, W); `channels`; `spacing_mm`;
        `normalisation`, an entry a channel; `patch_voxels` it was trained on, or the next that the
        graph takes; `patch_multiples`, what the lengths of an input are multiples of, and
        `patch_fixed` where it takes one size only; `activation`, what makes probabilities of the
        logits; `outputs`, an entry a channel of the logits; `overlap` and `mirror_axes` of
        prediction; where the weights come from.
    """
    plan, network = model.plan, model.checkpoint.network
    rule = network.patch_rule
    return {
        "mednext_version": __version__,
        "checkpoint_sha256": model.sha256,
        "network": network.flat(),
        "input_axes": ["batch", "channel", *plan.turn.triple(_DIRECTIONS)],
        "channels": list(plan.channels),
        "spacing_mm": list(plan.turn.triple(plan.spacing_mm)),
        "normalisation": [channel.model_dump(mode="json") for channel in plan.normalisation],
        "patch_voxels": list(model.graph_patch),
        "patch_multiples": [*(1,) * (3 - rule.dimensions), *rule.divisors],
        "patch_fixed": None if rule.fixed is None else list(rule.fixed),
        "activation": activation_of(plan),
        "outputs": describe_outputs(plan),
        "overlap": model.overlap,
        "mirror_axes": [AXES[axis] for axis in model.mirrored],
    }


def describe_outputs(plan: Plan) -> list[dict[str, Any]]:
    """Name and value in label maps of each channel of the logits; a region's labels, too."""
    labels = plan.label_set
    named: list[dict[str, Any]] = [
        {"name": name, "value": value}
        for name, value in zip(labels.output_names, labels.output_values, strict=True)
    ]
    if labels.region_training:
        return [one | {"labels": list(labels.regions[one["name"]])} for one in named]
    return named


def as_texts(facts: dict[str, Any]) -> dict[str, str]:
    """For formats whose metadata is text: JSON, but for what is text already."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in facts.items()
        if value is not None
    }
