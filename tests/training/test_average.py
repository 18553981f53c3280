"""The moving average of the weights: its formula, and that it stands in for them."""

import copy

import torch
from torch import nn

from mednext_cli.training.average import WeightAverage


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))


def _moved(network: nn.Module) -> None:
    for weights in network.parameters():
        weights.data += torch.randn_like(weights)
    network(torch.randn(2, 1, 2, 2, 2))  # moves the norm's statistics, and counts


def test_the_average_follows_the_formula() -> None:
    network = _network()
    average = WeightAverage(network, decay=0.3)
    expected = {name: one.double() for name, one in network.state_dict().items()}
    for step in range(5):
        _moved(network)
        past = min(0.3, (1 + step) / (10 + step))
        assert (past < 0.3) == (step < 3)
        average.update(step)
        for name, now in network.state_dict().items():
            expected[name] = past * expected[name] + (1 - past) * now.double()
    found = average.state_dict()
    assert found["1.num_batches_tracked"] == 5
    for name, values in found.items():
        if values.is_floating_point():
            assert torch.allclose(values.double(), expected[name], atol=1e-6), name


def test_it_stands_in_for_the_weights_and_gives_the_place_back() -> None:
    network = _network()
    average = WeightAverage(network, decay=0.5)
    _moved(network)
    own = copy.deepcopy(network.state_dict())
    averaged = copy.deepcopy(average.state_dict())
    with average.in_place():
        assert all(torch.equal(one, averaged[k]) for k, one in network.state_dict().items())
    assert all(torch.equal(one, own[name]) for name, one in network.state_dict().items())
    assert all(torch.equal(one, averaged[name]) for name, one in average.state_dict().items())
    assert any(not torch.equal(one, own[name]) for name, one in averaged.items())
