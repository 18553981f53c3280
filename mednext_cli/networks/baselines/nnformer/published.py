"""Weights of the published nnFormer: their names, and the network their shapes tell."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.baselines.nnformer.settings import LEVELS, NnFormerSettings
from mednext_cli.networks.baselines.nnformer.windows import position_rows
from mednext_cli.networks.baselines.renaming import rename
from mednext_cli.networks.baselines.shapes import agree, count_parts
from mednext_cli.networks.family import PublishedNetwork

_TABLE = "attn.relative_position_bias_table"
_ROWS = "attn.relative_position_index"
_NAMES = (
    ("model_down.patch_embed.", "encoder.embedding."),
    ("model_down.layers.", "encoder.stages."),
    ("model_down.norm", "encoder.norms."),
    *((f"decoder.layers.{i}.Upsample.", f"decoder.{i}.upsample.") for i in range(LEVELS - 1)),
    ("decoder.layers.", "decoder."),
    ("final.", "heads."),
)


def read_published(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[NnFormerSettings]:
    """The network of published weights, and the weights under our names.

    Args:
        weights: under the published names.
        said: `patch_voxels`, which leave hardly a trace, unless they are the published ones; what
            else the weights do not tell.

    Raises:
        LookupError, TypeError, ValueError: not weights of the published nnFormer.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    settings = agree(NnFormerSettings, _found(weights), said)
    stem = weights["model_down.patch_embed.proj1.conv1.weight"]
    head = weights["final.0.up.weight"]
    return PublishedNetwork(
        settings,
        in_channels=stem.shape[1],
        out_channels=head.shape[1],
        deep_supervision="final.1.up.weight" in weights,
        state_dict=rename(weights, _NAMES),
    )


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    levels = [f"model_down.layers.{level}.blocks." for level in range(LEVELS)]
    thin = weights["final.0.up.weight"].shape[2] == 2
    return {
        "variant": "synapse" if thin else "tumour",
        "embed_dim": weights["model_down.patch_embed.norm.weight"].shape[0],
        "heads": tuple(weights[f"{level}0.{_TABLE}"].shape[1] for level in levels),
        "depths": tuple(count_parts(weights, level) for level in levels),
    }


def publish(settings: NnFormerSettings, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ours under the published names, ready for the published network.

    Raises:
        CheckpointError: the published code has no such network.
    """
    if settings.positions == "distinct":
        raise CheckpointError(
            "the published nnFormer has no distinct rows for relative positions",
            "Keep it as a mednext checkpoint.",
        )
    weights = rename(state_dict, [(ours, theirs) for theirs, ours in _NAMES])
    return weights | dict(_index_tables(weights))


def _index_tables(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The published network keeps which row each pair of tokens has, beside the rows."""
    for name, table in weights.items():
        if name.endswith(_TABLE):
            edge = (round(len(table) ** (1 / 3)) + 1) // 2
            yield name.replace(_TABLE, _ROWS), position_rows(edge, distinct=False)
