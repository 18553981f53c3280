"""Small networks of every registered family, for the tests that all families pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.patches import Patch
from mednext_cli.networks.registry import Family, find_family
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.recipe import ModelSettings
from mednext_cli.settings.sections import Choice


@dataclass(frozen=True)
class Small:
    """Settings for which a network takes well under a second, and a patch (D, H, W) for them.

    Its family is that of its name, unless it is another network of one that is there already.
    """

    patch: Patch
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: str | None = None


# Two blocks of MedNeXt where windows are moved in the second.
_SHALLOW = {"expansion": (2,) * 9, "blocks": (2, *(1,) * 8)}
SMALL: Mapping[str, Small] = {
    "mednext": Small((16, 32, 16), {"base_channels": 4}),
    "mednext_attention": Small(
        (16, 32, 16),
        {"base_channels": 4, "mixer": "window_attention", "window": 2, **_SHALLOW},
        family="mednext",
    ),
    "mednext_bias": Small(
        (16, 32, 16),
        {"base_channels": 4, "mixer": "bias", "resampling": "plain", **_SHALLOW},
        family="mednext",
    ),
    "nnformer": Small((32, 32, 64), {"embed_dim": 12, "depths": (2, 1, 1, 1)}),
    "nnunet": Small((16, 24, 16), {"features": 4}),
    "nnunet_resenc": Small((16, 24, 16), {"features": 4}),
    "transbts": Small((16, 16, 32), {"base_channels": 8, "hidden_dim": 32}),
    "transunet": Small(
        (16, 32, 16),
        {
            "base_channels": 4,
            "most_channels": 16,
            "vit_layers": 1,
            "vit_width": 8,
            "vit_mlp_width": 16,
            "vit_heads": 2,
        },
    ),
    "transunet_2d": Small(
        (1, 32, 48),
        {
            "base_channels": 32,
            "resnet_blocks": (1, 2, 1),
            "vit_layers": 1,
            "vit_width": 8,
            "vit_mlp_width": 16,
            "vit_heads": 2,
            "decoder_channels": (8, 8, 8, 8),
        },
    ),
    "swin_unetr": Small(
        (32, 64, 32),
        {
            "feature_size": 12,
            "depths": (2, 1, 1, 1),
            "num_heads": (1, 2, 3, 4),
            "window_size": 3,
        },
    ),
    "unetr": Small(
        (16, 32, 16), {"feature_size": 2, "hidden_size": 8, "mlp_dim": 16, "num_heads": 2}
    ),
    "uxnet": Small(
        (16, 32, 16), {"depths": (1, 1, 1, 1), "feat_size": (4, 4, 4, 4), "hidden_size": 4}
    ),
}


def family_of(name: str) -> Family:
    """Of a small network by its name here."""
    return find_family(SMALL[name].family or name)


def small_spec(
    name: str, in_channels: int = 1, deep_supervision: Choice = "auto", out_channels: int = 3
) -> NetworkSpec:
    """As a recipe would have it, planned for its patch."""
    family = family_of(name)
    for package in family.requires:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: extra baselines")
    small = SMALL[name]
    model = ModelSettings.model_validate(
        {
            "network": family.name,
            "deep_supervision": deep_supervision,
            family.name: dict(small.settings),
        }
    )
    return choose_network(model).planned(small.patch).spec(in_channels, out_channels)


def small_image(name: str, in_channels: int = 1, batch: int = 2) -> Tensor:
    """(B, C, D, H, W) for it."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, in_channels, *SMALL[name].patch, generator=generator)
