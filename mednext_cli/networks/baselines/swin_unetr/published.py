"""Weights of MONAI's SwinUNETR, and back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mednext_cli.networks.baselines.monai_versions import without_unused_shortcuts
from mednext_cli.networks.baselines.shapes import agree, count_parts, root_of
from mednext_cli.networks.baselines.swin_unetr.settings import STAGES, SwinUNETRSettings
from mednext_cli.networks.baselines.swin_unetr.windows import relative_position_index
from mednext_cli.networks.family import PublishedNetwork

_INDEX = "relative_position_index"  # a table that MONAI saves with the weights
_BIASES = "relative_position_bias_table"


def read_monai(
    weights: Mapping[str, Tensor], said: Mapping[str, Any]
) -> PublishedNetwork[SwinUNETRSettings]:
    """The network of MONAI's weights, and the weights.

    Args:
        weights: under MONAI's names.
        said: `patch_merging`, which leaves no trace, where they are not of MONAI 1.5 or newer.

    Raises:
        LookupError, TypeError, ValueError: not weights of SwinUNETR.
        CheckpointError, SettingsError: not of what was said, or that cannot be.
    """
    found = _found(weights)
    image, head = weights["encoder1.layer.conv1.conv.weight"], weights["out.conv.conv.weight"]
    in_channels, out_channels = image.shape[1], head.shape[0]
    settings = agree(SwinUNETRSettings, found, said)
    used = without_unused_shortcuts(weights)
    ours = {name: value for name, value in used.items() if not name.endswith(_INDEX)}
    return PublishedNetwork(settings, in_channels, out_channels, False, ours)


def _found(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    biases = [weights[f"{_block(stage, 0)}.{_BIASES}"] for stage in range(STAGES)]
    span = root_of(biases[0].shape[0], 3)
    if span is None:
        raise KeyError(_BIASES)
    return {
        "feature_size": weights["encoder1.layer.conv1.conv.weight"].shape[0],
        "depths": tuple(
            count_parts(weights, f"swinViT.layers{stage + 1}.0.blocks.") for stage in range(STAGES)
        ),
        "num_heads": tuple(table.shape[1] for table in biases),
        "window_size": (span + 1) // 2,
        "use_v2": count_parts(weights, "swinViT.layers1c.") > 0,
        "patch_norm": "swinViT.patch_embed.norm.weight" in weights,
    }


def to_monai(settings: SwinUNETRSettings, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as MONAI saves them: with a table that follows from the window."""
    index = relative_position_index(settings.window_size)
    tables = {
        f"{_block(stage, number)}.{_INDEX}": index.clone()
        for stage in range(STAGES)
        for number in range(settings.depths[stage])
    }
    return {**state_dict, **tables}


def _block(stage: int, number: int) -> str:
    return f"swinViT.layers{stage + 1}.0.blocks.{number}.attn"
