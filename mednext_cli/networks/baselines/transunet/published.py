"""Weights of the published 3D TransUNet: the names of its heads, the network its shapes tell."""

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.baselines.shapes import (
    agree,
    check_patch,
    count_parts,
    root_of,
)
from mednext_cli.networks.baselines.transunet.planning import complete_strides
from mednext_cli.networks.baselines.transunet.settings import TransUNetSettings
from mednext_cli.networks.family import PublishedNetwork

_POSITIONS, _LAYER = "transformer.embeddings.position_embeddings", "transformer.encoder.layer."
_MASKS = "predictor."
_HEAD, _PUBLISHED_HEAD = re.compile(r"heads\.(\d+)\."), re.compile(r"seg_outputs\.(\d+)\.")
_UNUSED = "unused_head."


def publish(settings: TransUNetSettings, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ours under the published names: there, heads count from the bottom up.

    Raises:
        CheckpointError: a network that the published code does not build.
    """
    depth = len(complete_strides(settings))
    if "heads.0.weight" in state_dict and "heads.1.weight" not in state_dict:
        raise CheckpointError(
            "the published code has no encoder-only network without deep supervision",
            "Keep it as a mednext checkpoint.",
        )
    last = f"seg_outputs.{depth - 1}."
    return {
        _HEAD.sub(lambda match: f"seg_outputs.{depth - 1 - int(match[1])}.", name).replace(
            _UNUSED, last
        ): value
        for name, value in state_dict.items()
    }


def read_published(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[TransUNetSettings]:
    """The network of published weights, and the weights under our names.

    Args:
        weights: under the published names.
        said: `vit_heads` and `mask_heads`, which leave no trace; `patch_voxels` where it is no
            cube.

    Raises:
        LookupError, TypeError, ValueError: not weights of this network.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    found, likely = _found(weights), _likely(weights)
    in_channels, out_channels = _channels(weights)
    settings = agree(TransUNetSettings, found, likely | dict(said))
    if settings.attends:
        check_patch(settings, weights[_POSITIONS].shape[1])
    return PublishedNetwork(
        settings,
        in_channels,
        out_channels,
        "seg_outputs.0.weight" in weights,
        _renamed(weights, len(found["strides"]), settings.masks),
    )


def _renamed(weights: Mapping[str, Tensor], depth: int, masks: bool) -> dict[str, Tensor]:
    def ours(match: re.Match[str]) -> str:
        level = depth - 1 - int(match[1])
        return _UNUSED if masks and level == 0 else f"heads.{level}."

    return {_PUBLISHED_HEAD.sub(ours, name): value for name, value in weights.items()}


def _channels(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    image = weights["conv_blocks_context.0.blocks.0.conv.weight"].shape[1]
    if "seg_outputs.0.weight" in weights:
        return image, len(weights["seg_outputs.0.weight"])
    return image, len(weights[f"{_MASKS}class_embed.bias"]) - 1


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    attends, masks = _POSITIONS in weights, f"{_MASKS}class_embed.bias" in weights
    if not attends and not masks:
        raise KeyError("there is no transformer")
    found = {
        "transformer": {(True, False): "encoder", (False, True): "decoder"}.get(
            (attends, masks), "encoder_decoder"
        ),
        "strides": _strides(weights),
        "kernels": _kernels(weights),
        "base_channels": weights["conv_blocks_context.0.blocks.0.conv.weight"].shape[0],
    }
    return found | (_transformer(weights) if attends else {}) | (_masks(weights) if masks else {})


def _strides(weights: Mapping[str, Tensor]) -> tuple[tuple[int, ...], ...]:
    """A transposed convolution's kernel is its stride; `tu` counts from the bottom up."""
    ups = count_parts(weights, "tu.")
    return tuple(tuple(weights[f"tu.{up}.weight"].shape[2:]) for up in reversed(range(ups)))


def _kernels(weights: Mapping[str, Tensor]) -> tuple[tuple[int, ...], ...]:
    depth = count_parts(weights, "tu.")
    names = [f"conv_blocks_context.{level}.blocks.0.conv.weight" for level in range(depth)]
    names.append(f"conv_blocks_context.{depth}.0.blocks.0.conv.weight")
    return tuple(tuple(weights[name].shape[2:]) for name in names)


def _transformer(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    hidden, width = weights[f"{_LAYER}0.ffn.fc1.weight"].shape
    return {
        "vit_layers": count_parts(weights, _LAYER),
        "vit_width": width,
        "vit_mlp_width": hidden,
        "vit_layer_scale": f"{_LAYER}0.ls1.gamma" in weights,
    }


def _masks(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    queries, width = weights[f"{_MASKS}query_feat.weight"].shape
    return {
        "mask_queries": queries,
        "mask_width": width,
        "mask_layers": count_parts(weights, f"{_MASKS}transformer_ffn_layers."),
        "mask_layer_scale": f"{_MASKS}transformer_ffn_layers.0.ls1.gamma" in weights,
    }


def _likely(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Values that the weights only suggest: where the widths end, a cube for so many tokens."""
    likely: dict[str, Any] = {}
    bottom, strides = len(weights["tu.0.weight"]), _strides(weights)
    if bottom < len(weights["conv_blocks_context.0.blocks.0.conv.bias"]) * 2 ** len(strides):
        likely["most_channels"] = bottom
    positions = weights.get(_POSITIONS)
    if positions is not None and (edge := root_of(positions.shape[1], 3)):
        divisors = map(prod, zip(*strides, strict=True))
        likely["patch_voxels"] = tuple(edge * divisor for divisor in divisors)
    return likely
