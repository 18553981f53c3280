"""What a voxel sees, by shapes and by gradients."""

import pytest
import torch

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.spec import NetworkSpec, describe_network
from mednext_cli.scaling.dry_run import DryNetwork
from mednext_cli.scaling.receptive_field import effective_field, receptive_field
from tests.networks.small_networks import SMALL, small_spec

_STAGES = 9


def _shallow(kernel: int = 3) -> NetworkSpec:
    """One block a stage, and a norm over channels, which leaves voxels apart."""
    settings = {"expansion": [1] * _STAGES, "blocks": [1] * _STAGES, "norm": "layer"}
    return describe_network(
        "mednext", 1, 1, False, size=None, kernel=kernel, base_channels=2, **settings
    )


def test_it_is_the_longest_way_through_the_network() -> None:
    # Stem 1; blocks 2 * (1 + 2 + 4 + 8) on each side, 2 * 16 below; down 2 * 15, up 2 + 4 + 8 + 16.
    assert receptive_field(DryNetwork(_shallow()), (16, 16, 16)) == (1 + 60 + 32 + 30 + 30,) * 3


def test_no_gradient_comes_from_beyond_it() -> None:
    spec = _shallow()
    length, (field, *_) = 256, receptive_field(DryNetwork(spec), (16, 16, 16)) or (0,)
    network = build_plain(spec).double()
    for weights in network.parameters():
        torch.nn.init.uniform_(weights, 0.1, 1.0)
    seen = []
    for centre in range(112, 144, 3):
        image = torch.ones(1, 1, length, 16, 16, dtype=torch.float64, requires_grad=True)
        network(image)[0, 0, centre, 8, 8].backward()
        assert image.grad is not None
        along = image.grad[0, 0].abs().sum((1, 2)).nonzero().flatten()
        seen.append(int(along[-1] - along[0]) + 1)
    assert field - 16 <= max(seen) <= field


@pytest.mark.parametrize(
    ("name", "attends"), [("nnunet", False), ("uxnet", False), ("unetr", True)]
)
def test_networks_with_attention_have_none(name: str, attends: bool) -> None:
    field = receptive_field(DryNetwork(small_spec(name)), SMALL[name].patch)
    assert (field is None) is attends


def test_what_an_untrained_network_looks_at_is_far_smaller() -> None:
    spec = describe_network("mednext", 1, 2, False, size="S", kernel=3, base_channels=2)
    edge = effective_field(spec, (32, 32, 32))
    assert 1 < edge < 16
    assert edge == effective_field(spec, (32, 32, 32))
