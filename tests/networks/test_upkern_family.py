"""UpKern of a stranger's family, whose networks cannot be built without memory."""

import pytest
import torch
from torch import nn

from mednext_cli.networks import registry
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.family import NetworkFamily, NetworkSettings
from mednext_cli.networks.spec import describe_network
from mednext_cli.networks.upkern import enlarge


class _Settings(NetworkSettings):
    kernel: int = 3


class _Looking(NetworkFamily[_Settings]):
    """Its networks look at a value of theirs while they are built."""

    name = "looking"
    Settings = _Settings

    def build(
        self, settings: _Settings, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> nn.Module:
        network = nn.Conv3d(in_channels, out_channels, settings.kernel, padding="same")
        assert network.weight.sum().item() < 1e6
        return network

    def divisor(self, settings: _Settings) -> int:
        return 1

    def kernels(self, settings: _Settings) -> tuple[int, ...]:
        return (settings.kernel,)

    def with_kernel(self, settings: _Settings, kernel: int) -> _Settings:
        return _Settings(kernel=kernel)


def test_its_kernels_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    family = _Looking()
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: family)
    network = describe_network("looking", 1, 2)
    weights = family.build(_Settings(), 1, 2, False).state_dict()
    enlarged, steps = enlarge(Checkpoint(network, weights), 5)
    assert [step.action for step in steps] == ["grow", "copy"]
    assert enlarged.state_dict["weight"].shape == torch.Size((2, 1, 5, 5, 5))
