"""Networks with batch norm, which keeps more than weights: averages, and a count of batches."""

import copy

import pytest
import torch
from torch import Tensor, nn

from mednext_cli.networks import registry
from mednext_cli.networks.checkpoint import (
    Checkpoint,
    build_network,
    load_checkpoint,
    save_checkpoint,
)
from mednext_cli.networks.family import NetworkFamily, NetworkSettings, PublishedNetwork
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.recompute import set_recomputed
from mednext_cli.networks.spec import describe_network


class _Averaging(NetworkFamily[NetworkSettings]):
    """A convolution and a batch norm; its published weights have the same names."""

    name = "averaging"
    Settings = NetworkSettings
    runs_without_memory = True

    def build(
        self, settings: NetworkSettings, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> nn.Module:
        return nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 1), nn.BatchNorm3d(out_channels), nn.Dropout(0.2)
        )

    def divisor(self, settings: NetworkSettings) -> int:
        return 1

    def read_published(self, weights, said):  # type: ignore[no-untyped-def]
        return PublishedNetwork(NetworkSettings(), 1, 2, False, dict(weights))

    def publish(self, settings, state_dict):  # type: ignore[no-untyped-def]
        return dict(state_dict)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """After one batch in training."""
    family = _Averaging()
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: family)
    network = family.build(NetworkSettings(), 1, 2, False)
    network(torch.randn(2, 1, 4, 4, 4))
    return Checkpoint(describe_network("averaging", 1, 2), network.state_dict())


def test_its_averages_are_saved_and_loaded(trained, tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", trained)
    image = torch.randn(1, 1, 4, 4, 4)
    loaded = build_network(load_checkpoint(tmp_path / "checkpoint.pt"))
    assert torch.equal(loaded(image), build_network(trained)(image))
    mean = loaded.state_dict()["1.running_mean"]
    assert torch.equal(mean, trained.state_dict["1.running_mean"])
    assert mean.abs().max() > 0


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_published_weights_hold_them_with_or_without_the_count(trained, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    export_weights(path, trained)
    imported = import_weights(path, "averaging")
    for name, value in imported.state_dict.items():
        assert torch.equal(value, trained.state_dict[name]), name
    torch.save(dict(trained.state_dict), tmp_path / "counted.pt")
    counted = import_weights(tmp_path / "counted.pt", "averaging")
    assert counted.state_dict.keys() == imported.state_dict.keys()
    assert "1.running_var" in counted.state_dict


def test_a_batch_that_is_computed_again_is_counted_once():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Dropout(0.2), nn.ReLU())
    again = copy.deepcopy(plain)
    set_recomputed([again], True)
    image = torch.randn(2, 1, 4, 4, 4)
    gradients = [_gradient(network, image) for network in (plain, again)]
    assert torch.equal(*gradients)
    for name, value in plain.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert plain.state_dict()["1.num_batches_tracked"] == 2


def _gradient(network: nn.Module, image: Tensor) -> Tensor:
    for seed in range(2):
        torch.manual_seed(seed)
        network(image).sum().backward()
    gradient = network[0].weight.grad
    assert isinstance(gradient, Tensor)
    return gradient
