"""Weights of the published 3D UX-Net; their names are ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mednext_cli.networks.baselines.monai_versions import without_unused_shortcuts
from mednext_cli.networks.baselines.shapes import agree, count_parts
from mednext_cli.networks.baselines.uxnet.family import STAGES, UXNetSettings
from mednext_cli.networks.family import PublishedNetwork


def read_published(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[UXNetSettings]:
    """The network of published weights, and the weights.

    Args:
        weights: under the published names.
        said: settings that the weights must be of.

    Raises:
        LookupError, TypeError, ValueError: not weights of 3D UX-Net.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    found = _found(weights)
    image, head = weights["encoder1.layer.conv1.conv.weight"], weights["out.conv.conv.weight"]
    in_channels, out_channels = image.shape[1], head.shape[0]
    settings = agree(UXNetSettings, found, said)
    ours = without_unused_shortcuts(weights)
    return PublishedNetwork(settings, in_channels, out_channels, False, ours)


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = range(STAGES)
    return {
        "depths": tuple(count_parts(weights, f"uxnet_3d.stages.{stage}.") for stage in stages),
        "feat_size": tuple(weights[f"uxnet_3d.norm{stage}.weight"].shape[0] for stage in stages),
        "hidden_size": weights["encoder5.layer.conv1.conv.weight"].shape[0],
    }
