"""Weights of nnU-Net v2: their names, and the network their shapes tell.

The library's networks hold the encoder twice (`encoder`, `decoder.encoder`) and each layer of a
block twice (`conv` and `norm`, and numbered in `all_modules`); a checkpoint has all these names.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.baselines.nnunet.settings import (
    MOST_STAGES,
    NnUNetSettings,
    of_stages,
)
from mednext_cli.networks.baselines.shapes import agree, count_parts
from mednext_cli.networks.family import NetworkFamily, PublishedNetwork

_LAYERS = {".conv.": ".all_modules.0.", ".norm.": ".all_modules.1."}
_ENCODER, _ENCODER_AGAIN = "encoder.", "decoder.encoder."
_DECODER = {"transpconvs": "up", "stages": "blocks"}
_OF_DECODER = re.compile(r"decoder\.(transpconvs|stages|seg_layers)\.(\d{1,2})\.(.+)")
_FIRST_LAYER = {  # of a stage of the encoder
    "nnunet": "encoder.stages.{}.0.convs.0.all_modules.0.weight",
    "nnunet_resenc": "encoder.stages.{}.blocks.0.conv1.all_modules.0.weight",
}
_BLOCKS = {"nnunet": "encoder.stages.{}.0.convs.", "nnunet_resenc": "encoder.stages.{}.blocks."}
_TAKES_THE_IMAGE = {
    "nnunet": "encoder.stages.0.0.convs.0.all_modules.0.weight",
    "nnunet_resenc": "encoder.stem.convs.0.all_modules.0.weight",
}


def read_published(
    family: NetworkFamily[NnUNetSettings], weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[NnUNetSettings]:
    """The network of nnU-Net's weights, and the weights under our names.

    Heads on lower resolutions are always there; where all are 0 they were never trained, as
    `published_weights` writes them, and are left out.

    Args:
        family: `nnunet` or `nnunet_resenc`.
        weights: under the published names.
        said: settings that the weights must be of.

    Raises:
        LookupError, TypeError, ValueError: not weights of this family.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    stages = 1 + count_parts(weights, "decoder.transpconvs.")
    ours = _once((_our_name(name, stages), value) for name, value in weights.items())
    _check_encoder(family.name, ours)
    found = _settings(family, ours, stages)
    in_channels, classes = ours[_TAKES_THE_IMAGE[family.name]].shape[1], len(ours["heads.0.weight"])
    agree(family.Settings, found.model_dump(), said)
    lower = [name for name in ours if name.startswith(family.auxiliary_weights)]
    deep = any(bool(torch.any(ours[name] != 0)) for name in lower)
    kept = {name: value for name, value in ours.items() if deep or name not in lower}
    return PublishedNetwork(found, in_channels, classes, deep, kept)


def published_weights(
    settings: NnUNetSettings, state_dict: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weights of ours under all names that the library's network has for them.

    Heads on lower resolutions are 0 where the network has none.
    """
    stages = len(settings.topology.strides)
    head = {name: state_dict[f"heads.0.{name}"] for name in ("weight", "bias")}
    whole = dict(state_dict)
    for level, width in enumerate(settings.widths[: stages - 1]):
        zeros = head["weight"].new_zeros((len(head["bias"]), width, *head["weight"].shape[2:]))
        whole.setdefault(f"heads.{level}.weight", zeros)
        whole.setdefault(f"heads.{level}.bias", torch.zeros_like(head["bias"]))
    return {
        published: value
        for name, value in whole.items()
        for published in _published_names(name, stages)
    }


def _our_name(name: str, stages: int) -> str:
    """Of any published name; one that is strange stays."""
    if name.startswith(_ENCODER_AGAIN):
        name = name.replace(_ENCODER_AGAIN, _ENCODER, 1)
    for layer, numbered in _LAYERS.items():
        name = name.replace(layer, numbered)
    if not (match := _OF_DECODER.fullmatch(name)):
        return name
    kind, number, rest = match.groups()
    if kind == "seg_layers":
        return f"heads.{stages - 2 - int(number)}.{rest}"
    return f"decoder.{int(number)}.{_DECODER[kind]}.{rest}"


def _published_names(name: str, stages: int) -> list[str]:
    """All names of a weight of ours in the library's network."""
    first, number, rest = name.split(".", 2)
    if first == "heads":
        return [f"decoder.seg_layers.{stages - 2 - int(number)}.{rest}"]
    if first == "decoder":
        part, inner = rest.split(".", 1)
        kind = next(theirs for theirs, ours in _DECODER.items() if ours == part)
        return _both_layers(f"decoder.{kind}.{number}.{inner}")
    again = name.replace(_ENCODER, _ENCODER_AGAIN, 1)
    return _both_layers(name) + _both_layers(again)


def _both_layers(name: str) -> list[str]:
    for layer, numbered in _LAYERS.items():
        if numbered in name:
            return [name.replace(numbered, layer), name]
    return [name]


def _once(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Every weight once; one that has several names must have one value."""
    kept: dict[str, Tensor] = {}
    for name, value in named:
        if name in kept and kept[name] is not value and not torch.equal(kept[name], value):
            raise CheckpointError(
                f"weight {name} has two values under its names", "Take another copy of it."
            )
        kept[name] = value
    return kept


def _check_encoder(name: str, ours: Mapping[str, Tensor]) -> None:
    kind = next((kind for kind, first in _TAKES_THE_IMAGE.items() if first in ours), name)
    if kind != name:
        raise CheckpointError(
            f"these weights are of {kind}, not {name}", f"Import them with --network {kind}."
        )


def _settings(
    family: NetworkFamily[NnUNetSettings], ours: Mapping[str, Tensor], stages: int
) -> NnUNetSettings:
    """What the shapes tell; in the words of the published defaults where these say the same."""
    if not 1 < stages <= MOST_STAGES:
        raise ValueError(f"{stages} stages")
    firsts = [ours[_FIRST_LAYER[family.name].format(stage)] for stage in range(stages)]
    ups = [ours[f"decoder.{stage}.up.weight"] for stage in reversed(range(stages - 1))]
    dimensions = firsts[0].ndim - 2
    found = family.Settings(
        features=len(firsts[0]),
        max_features=max(map(len, firsts)),
        strides=((1,) * dimensions, *(tuple(up.shape[2:]) for up in ups)),
        kernel_sizes=tuple(tuple(first.shape[2:]) for first in firsts),
        encoder_blocks=_counts(ours, _BLOCKS[family.name], stages),
        decoder_blocks=_counts(ours, "decoder.{}.blocks.convs.", stages - 1),
        dimensions=dimensions,
    )
    return _in_published_words(found, family.Settings(), stages)


def _in_published_words(
    found: NnUNetSettings, published: NnUNetSettings, stages: int
) -> NnUNetSettings:
    same: dict[str, Any] = {}
    for name, count in (("encoder_blocks", stages), ("decoder_blocks", stages - 1)):
        if of_stages(getattr(published, name), count) == getattr(found, name):
            same[name] = getattr(published, name)
    uncapped = found.model_copy(update={"max_features": None})
    if uncapped.widths == found.widths:
        same["max_features"] = None
    return found.model_copy(update=same)


def _counts(ours: Mapping[str, Tensor], prefix: str, stages: int) -> tuple[int, ...]:
    return tuple(count_parts(ours, prefix.format(stage)) for stage in range(stages))
