"""Weights of the published 2D TransUNet: what their shapes tell of the network."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mednext_cli.networks.baselines.shapes import (
    agree,
    check_patch,
    count_parts,
    root_of,
)
from mednext_cli.networks.baselines.transunet_2d.settings import DOWNSAMPLING, TransUNet2DSettings
from mednext_cli.networks.family import PublishedNetwork

_EMBEDDINGS = "transformer.embeddings."
_ROOT = f"{_EMBEDDINGS}hybrid_model.root.conv.weight"
_BODY = f"{_EMBEDDINGS}hybrid_model.body."
_LAYER = "transformer.encoder.layer."
_COLOURS = 3


def read_published(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[TransUNet2DSettings]:
    """The network of published weights; all names are ours, too.

    Args:
        weights: of the published code.
        said: `vit_heads`, which leave no trace; `patch_voxels` of a slice that is not square;
            `repeat_channel = false` for weights that were trained on images of three channels.

    Raises:
        LookupError, TypeError, ValueError: not weights of this network.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    found = _found(weights)
    in_channels, out_channels = weights[_ROOT].shape[1], len(weights["segmentation_head.0.bias"])
    tokens = weights[f"{_EMBEDDINGS}position_embeddings"].shape[1]
    settings = agree(TransUNet2DSettings, found, _square(tokens) | dict(said))
    check_patch(settings, tokens)
    if settings.repeat_channel and in_channels == _COLOURS:
        in_channels = 1
    return PublishedNetwork(settings, in_channels, out_channels, False, dict(weights))


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    hidden, width = weights[f"{_LAYER}0.ffn.fc1.weight"].shape
    return {
        "base_channels": weights[_ROOT].shape[0],
        "resnet_blocks": tuple(
            count_parts(weights, f"{_BODY}block{stage}.unit") for stage in (1, 2, 3)
        ),
        "vit_layers": count_parts(weights, _LAYER),
        "vit_width": width,
        "vit_mlp_width": hidden,
        "decoder_channels": tuple(
            weights[f"decoder.blocks.{level}.conv1.0.weight"].shape[0] for level in range(4)
        ),
    }


def _square(tokens: int) -> dict[str, Any]:
    edge = root_of(tokens, 2)
    return {"patch_voxels": (1, edge * DOWNSAMPLING, edge * DOWNSAMPLING)} if edge else {}
