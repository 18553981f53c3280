"""Weights of the published TransBTS: their names, and the network their shapes tell."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mednext_cli.networks.baselines.renaming import rename
from mednext_cli.networks.baselines.shapes import agree, check_patch, count_parts, root_of
from mednext_cli.networks.baselines.transbts.settings import BLOCKS, TransBtsSettings
from mednext_cli.networks.family import PublishedNetwork

# Its encoder's depth and width, 8 times its first convolution's, are fixed in the published code.
_DOWNSAMPLING = 8
_STEM = "Unet.InitConv.conv.weight"
_POSITIONS = "position_encoding.position_embeddings"
_UNUSED = ("linear_encoding.", "pre_head_ln.")
_MOST_LAYERS = 64


def _layer_names() -> Iterator[tuple[str, str]]:
    for layer in range(_MOST_LAYERS):
        ours = f"bottleneck.layers.{layer}."
        attention, perceptron = (f"transformer.net.{2 * layer + part}.fn." for part in (0, 1))
        yield f"{attention}norm.", f"{ours}norm1."
        yield f"{attention}fn.", f"{ours}attention."
        yield f"{perceptron}norm.", f"{ours}norm2."
        yield f"{perceptron}fn.net.", f"{ours}perceptron."


def _block_names(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for number in (1, 2):
        yield f"{theirs}.bn{number}.", f"{ours}.norm{number}."
    yield f"{theirs}.", f"{ours}."


def _encoder_names() -> Iterator[tuple[str, str]]:
    yield "Unet.InitConv.", "stem."
    yield from _block_names("Unet.EnBlock1", "encoder.0.0")
    for level, blocks in enumerate(BLOCKS):
        yield f"Unet.EnDown{level + 1}.conv.", f"down.{level}."
        for block in range(blocks):
            yield from _block_names(
                f"Unet.EnBlock{level + 1}_{block + 1}", f"encoder.{level}.{block}"
            )


def _decoder_names() -> Iterator[tuple[str, str]]:
    for block in (0, 1):
        yield from _block_names(f"Enblock8_{block + 1}", f"bottleneck.blocks.{block}")
    for level in range(len(BLOCKS) - 1):
        yield f"DeUp{level + 2}.", f"decoder.{level}.up."
        yield from _block_names(f"DeBlock{level + 2}", f"decoder.{level}.block")


_NAMES = (
    *_encoder_names(),
    ("bn.", "bottleneck.norm."),
    ("conv_x.", "bottleneck.embedding."),
    (_POSITIONS, "bottleneck.positions"),
    *_layer_names(),
    *_decoder_names(),
    ("endconv.", "head."),
)


def read_published(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[TransBtsSettings]:
    """The network of published weights, and the weights under our names.

    Layers that the published network has and never uses are left behind.

    Args:
        weights: under the published names.
        said: `heads`, which leave no trace; `patch_voxels` of a patch that is no cube; the
            dropouts.

    Raises:
        LookupError, TypeError, ValueError: not weights of the published TransBTS.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    used = {name: value for name, value in weights.items() if not name.startswith(_UNUSED)}
    settings = agree(TransBtsSettings, _found(used), _cube(used) | dict(said))
    in_channels, out_channels = used[_STEM].shape[1], used["endconv.weight"].shape[0]
    check_patch(settings, used[_POSITIONS].shape[1])
    return PublishedNetwork(settings, in_channels, out_channels, False, rename(used, _NAMES))


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "base_channels": weights[_STEM].shape[0],
        "layers": count_parts(weights, "transformer.net.") // 2,
        "hidden_dim": weights["transformer.net.1.fn.fn.net.0.weight"].shape[0],
    }


def _cube(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    edge = root_of(weights[_POSITIONS].shape[1], 3)
    return {"patch_voxels": (edge * _DOWNSAMPLING,) * 3} if edge else {}


def publish(settings: TransBtsSettings, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ours under the published names, ready for the published network.

    That has layers it never uses, and refuses weights without them: they are zeros.
    """
    weights = rename(state_dict, [(ours, theirs) for theirs, ours in _NAMES])
    width, channels = settings.embed_dim, _DOWNSAMPLING * settings.base_channels
    shapes = {
        "linear_encoding.weight": (width, channels * weights[_STEM].shape[1]),
        "linear_encoding.bias": (width,),
        "pre_head_ln.weight": (width,),
        "pre_head_ln.bias": (width,),
    }
    return weights | {name: torch.zeros(shape) for name, shape in shapes.items()}
