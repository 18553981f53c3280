"""Weights of the published MedNeXt code: their names, and the network their shapes tell.

Every tensor has one name there and one here; the only differences beyond names are the heads
(there a transposed 1x1x1 convolution, here a plain one: the weight transposed) and `dummy_tensor`,
one number that the published network carries along and never uses.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.building import check_fit, expected_weights
from mednext_cli.networks.family import PublishedNetwork
from mednext_cli.networks.mednext.settings import Kernel, MedNeXtSettings, Norm, Size
from mednext_cli.networks.mednext.variants import LEVELS, STAGES
from mednext_cli.networks.spec import NetworkSpec, describe_network
from mednext_cli.settings.problems import first_problem

UNUSED = "dummy_tensor"
_PLACES = (
    (r"encoder\.(\d)\.blocks\.(\d+)", r"enc_block_\1.\2"),
    (r"encoder\.(\d)\.down", r"down_\1"),
    (r"bottleneck\.(\d+)", r"bottleneck.\1"),
    (r"decoder\.(\d)\.up", r"up_\1"),
    (r"decoder\.(\d)\.blocks\.(\d+)", r"dec_block_\1.\2"),
)
_LAYERS = {
    "depthwise.": "conv1.",
    "norm.": "norm.",
    "expand.": "conv2.",
    "grn.": "grn_",
    "compress.": "conv3.",
    "shortcut.": "res_conv.",
}
_STAGE_NAMES = (
    *(f"enc_block_{level}" for level in range(LEVELS)),
    "bottleneck",
    *(f"dec_block_{level}" for level in reversed(range(LEVELS))),
)
_HEAD = re.compile(r"heads\.(\d)\.(weight|bias)")


def official_name(name: str) -> str:
    """The published name of a parameter of `mednext.MedNeXt`.

    Raises:
        KeyError: it is none of ours.
    """
    if name.startswith("stem."):
        return name
    if head := _HEAD.fullmatch(name):
        return f"out_{head[1]}.conv_out.{head[2]}"
    for ours, theirs in _PLACES:
        if match := re.match(ours + r"\.", name):
            rest = name[match.end() :]
            layer = next(known for known in _LAYERS if rest.startswith(known))
            return match.expand(theirs) + "." + _LAYERS[layer] + rest.removeprefix(layer)
    raise KeyError(name)


def name_map(network: NetworkSpec) -> dict[str, str]:
    """Our name of every parameter, with the published one."""
    return {name: official_name(name) for name in expected_weights(network)}


def to_official(settings: MedNeXtSettings, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ours under the published names, ready for the published network.

    Raises:
        CheckpointError: the published code has no such network.
    """
    if foreign := _unpublished(settings):
        raise CheckpointError(
            f"the published code has no network with {foreign}", "Keep it as a mednext checkpoint."
        )
    official = {official_name(name): _turned(name, value) for name, value in state_dict.items()}
    return {UNUSED: torch.ones(1), **official}


def _unpublished(settings: MedNeXtSettings) -> str:
    """What of a network the published code has not; empty where it has all."""
    if settings.grn_in_first_downsampling:
        return "GRN in the first downsampling"
    if settings.mixer != "depthwise":
        return f"mixer = {settings.mixer}"
    if settings.resampling == "plain":
        return "resampling = plain"
    return ""


def from_official(network: NetworkSpec, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under our names.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape.
    """
    ours = {theirs: name for name, theirs in name_map(network).items()}
    renamed = {ours.get(name, name): value for name, value in weights.items() if name != UNUSED}
    turned = {name: _turned(name, value) for name, value in renamed.items()}
    check_fit(expected_weights(network), turned)
    return turned


def _turned(name: str, value: Tensor) -> Tensor:
    """A head's weight is (in, out) there and (out, in) here."""
    swapped = _HEAD.fullmatch(name) and value.ndim > 1
    return (value.transpose(0, 1) if swapped else value).contiguous()


def read_official(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[MedNeXtSettings]:
    """The network of published weights, and the weights under our names.

    Args:
        weights: under the published names.
        said: `size` and `kernel`, refused unless the weights are of them; `norm` and `residual`,
            see `infer_network`.

    Raises:
        CheckpointError: not weights of the published MedNeXt, or of another size or kernel.
        SettingsError: `said` cannot be.
    """
    try:
        asked = _Said.model_validate(said)
    except ValidationError as error:
        raise SettingsError(
            f"weights of mednext: {first_problem(error)}",
            "Give size, kernel, norm or residual; the weights tell the rest.",
        ) from error
    network = infer_network(weights, asked.norm, asked.residual)
    found = cast("MedNeXtSettings", network.settings)
    if asked.size not in (None, found.size):
        raise CheckpointError(
            f"these weights are of size {found.size}, not {asked.size}", "Leave out the size."
        )
    if asked.kernel is not None and found.kernels != (asked.kernel, asked.kernel):
        kernels = " and ".join(str(kernel) for kernel in sorted(set(found.kernels)))
        raise CheckpointError(
            f"these weights have kernel {kernels}, not {asked.kernel}", "Leave out the kernel."
        )
    return PublishedNetwork(
        found,
        network.in_channels,
        network.out_channels,
        network.deep_supervision,
        from_official(network, weights),
    )


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size | None = None
    kernel: Kernel | None = None
    norm: Norm = "group"
    residual: bool | None = None


def infer_network(
    weights: Mapping[str, Tensor], norm: Norm = "group", residual: bool | None = None
) -> NetworkSpec:
    """The network that published weights were made with.

    Args:
        weights: under the published names.
        norm: group and layer norm have the same weights, so this cannot be inferred.
        residual: whether the blocks add their input, which leaves no trace either; None takes
            what the resampling blocks do, as every published network does.

    Raises:
        CheckpointError: these are not weights of the published MedNeXt.
    """
    try:
        return _infer(weights, norm, residual)
    except (KeyError, IndexError, ZeroDivisionError, SettingsError) as error:
        raise CheckpointError(
            f"these are not weights of the published MedNeXt ({error})",
            "Give the state_dict of its network.",
        ) from error


def _infer(weights: Mapping[str, Tensor], norm: Norm, residual: bool | None) -> NetworkSpec:
    stem = weights["stem.weight"]
    resampling = "down_0.res_conv.weight" in weights
    return describe_network(
        "mednext",
        in_channels=stem.shape[1],
        out_channels=weights["out_0.conv_out.weight"].shape[1],
        base_channels=stem.shape[0],
        expansion=tuple(_expansion(weights, stage) for stage in _STAGE_NAMES),
        blocks=_count_blocks(weights, _STAGE_NAMES),
        encoder_kernel=weights["enc_block_0.0.conv1.weight"].shape[-1],
        decoder_kernel=weights["dec_block_0.0.conv1.weight"].shape[-1],
        dimensions=stem.ndim - 2,
        norm=norm,
        grn="enc_block_0.0.grn_gamma" in weights,
        grn_in_first_downsampling="down_0.grn_gamma" in weights,
        residual=resampling if residual is None else residual,
        resampling="residual" if resampling else "inverted",
        deep_supervision="out_1.conv_out.weight" in weights,
    )


def _expansion(weights: Mapping[str, Tensor], stage: str) -> int:
    inner, channels = weights[f"{stage}.0.conv2.weight"].shape[:2]
    return inner // channels


def _count_blocks(weights: Mapping[str, Tensor], stages: Sequence[str]) -> tuple[int, ...]:
    counts = []
    for stage in stages:
        block = re.compile(rf"{stage}\.(\d+)\.")
        found = (block.match(name) for name in weights)
        counts.append(len({match[1] for match in found if match}))
    if len(counts) != STAGES or 0 in counts:
        raise KeyError("a stage without blocks")
    return tuple(counts)
