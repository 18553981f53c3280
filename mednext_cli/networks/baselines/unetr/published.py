"""Weights of MONAI's UNETR, as its versions save them."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mednext_cli.networks.baselines.monai_versions import without_unused_shortcuts
from mednext_cli.networks.baselines.shapes import agree, check_patch, root_of
from mednext_cli.networks.baselines.unetr.family import LAYERS, TOKEN, UNETRSettings
from mednext_cli.networks.family import PublishedNetwork

_CROSS_ATTENTION = re.compile(r"vit\.blocks\.\d+\.(norm_)?cross_attn\.")
_EMBEDDING = "vit.patch_embedding"
_CLASS_TOKEN = f"{_EMBEDDING}.cls_token"  # of the first versions, and so of the published weights


def read_monai(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[UNETRSettings]:
    """The network of MONAI's weights, and the weights as version 1.6 has them.

    Args:
        weights: under MONAI's names.
        said: `num_heads`, which leave no trace, where they are not 12; `patch_voxels`, of which
            the weights tell the number of tokens alone, where it is no cube.

    Raises:
        LookupError, TypeError, ValueError: not weights of UNETR.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    found = _found(weights)
    image, head = weights["encoder1.layer.conv1.conv.weight"], weights["out.conv.conv.weight"]
    in_channels, out_channels = image.shape[1], head.shape[0]
    tokens = weights[f"{_EMBEDDING}.position_embeddings"].shape[1]
    settings = agree(UNETRSettings, found, _cube(tokens) | dict(said))
    check_patch(settings, tokens)
    ours = _as_of_today(weights, settings.hidden_size)
    return PublishedNetwork(settings, in_channels, out_channels, False, ours)


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "feature_size": weights["encoder1.layer.conv1.conv.weight"].shape[0],
        "hidden_size": weights["vit.norm.weight"].shape[0],
        "mlp_dim": weights["vit.blocks.0.mlp.linear1.weight"].shape[0],
        "proj_type": "conv" if f"{_EMBEDDING}.patch_embeddings.weight" in weights else "perceptron",
    }


def _cube(tokens: int) -> dict[str, Any]:
    """The cubic patch of so many tokens, if there is one."""
    edge = root_of(tokens, 3)
    return {"patch_voxels": (edge * TOKEN,) * 3} if edge else {}


def _as_of_today(weights: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """Without what some version saves and none uses, but for the norms that today's has."""
    kept = {
        name: value
        for name, value in without_unused_shortcuts(weights).items()
        if name != _CLASS_TOKEN and not _CROSS_ATTENTION.match(name)
    }
    for layer in range(LAYERS):
        norm = f"vit.blocks.{layer}.norm_cross_attn."
        kept[norm + "weight"] = weights.get(norm + "weight", torch.ones(width))
        kept[norm + "bias"] = weights.get(norm + "bias", torch.zeros(width))
    return kept
