"""MedNeXts for tests, in few words."""

from typing import Any

from torch import nn

from mednext_cli.networks.spec import NetworkSpec, describe_network


def mednext(
    size: str = "S",
    kernel: int | None = 3,
    in_channels: int = 1,
    out_channels: int = 2,
    base_channels: int = 32,
    deep_supervision: bool = True,
    **settings: Any,
) -> NetworkSpec:
    """A MedNeXt's specification."""
    shape = {"size": size, "kernel": kernel, "base_channels": base_channels}
    return describe_network(
        "mednext", in_channels, out_channels, deep_supervision, **shape, **settings
    )


def build(spec: NetworkSpec) -> nn.Module:
    """The network itself: one of two dimensions takes (B, C, H, W)."""
    return spec.family.build(
        spec.settings, spec.in_channels, spec.out_channels, spec.deep_supervision
    )
