"""Weights of MONAI's UNETR, as its versions save them."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.baselines.shapes import agree, root_of
from mednext_cli.networks.baselines.unetr.family import LAYERS, TOKEN, UNETRSettings
from mednext_cli.networks.family import PublishedNetwork
from mednext_cli.networks.patches import Patch

_CROSS_ATTENTION = re.compile(r"vit\.blocks\.\d+\.(norm_)?cross_attn\.")
_EMBEDDING = "vit.patch_embedding"


def read_monai(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[UNETRSettings]:
    """The network of MONAI's weights, and the weights as version 1.6 has them.

    Args:
        weights: under MONAI's names.
        said: `num_heads`, which leave no trace, where they are not 12; `patch_voxels`, of which
            the weights tell the number of tokens alone, where it is no cube.

    Raises:
        CheckpointError: not weights of UNETR, or of another network than was said.
        SettingsError: `said` cannot be.
    """
    try:
        found = _found(weights)
        image, head = weights["encoder1.layer.conv1.conv.weight"], weights["out.conv.conv.weight"]
        in_channels, out_channels = image.shape[1], head.shape[0]
        if "patch_voxels" not in said:
            found["patch_voxels"] = _cube(weights[f"{_EMBEDDING}.position_embeddings"].shape[1])
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"these are not weights of MONAI's UNETR ({error})", "Give the state_dict of one."
        ) from error
    settings = agree(UNETRSettings, found, said)
    ours = _as_of_today(weights, settings.hidden_size)
    return PublishedNetwork(settings, in_channels, out_channels, False, ours)


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "feature_size": weights["encoder1.layer.conv1.conv.weight"].shape[0],
        "hidden_size": weights["vit.norm.weight"].shape[0],
        "mlp_dim": weights["vit.blocks.0.mlp.linear1.weight"].shape[0],
        "proj_type": "conv" if f"{_EMBEDDING}.patch_embeddings.weight" in weights else "perceptron",
    }


def _cube(tokens: int) -> Patch:
    """The cubic patch of so many tokens."""
    if (edge := root_of(tokens, 3)) is None:
        raise CheckpointError(
            f"these weights are of {tokens} tokens, which are no cube",
            f"Say patch_voxels: {TOKEN} voxels a token along each axis.",
        )
    return (edge * TOKEN, edge * TOKEN, edge * TOKEN)


def _as_of_today(weights: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """Some versions save cross attention and others its norm alone; nothing uses either."""
    kept = {name: value for name, value in weights.items() if not _CROSS_ATTENTION.match(name)}
    for layer in range(LAYERS):
        norm = f"vit.blocks.{layer}.norm_cross_attn."
        kept[norm + "weight"] = weights.get(norm + "weight", torch.ones(width))
        kept[norm + "bias"] = weights.get(norm + "bias", torch.zeros(width))
    return kept
