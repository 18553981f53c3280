"""Patches of multiples of 8, whose fourth resolution may be of odd length."""

import copy

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext.blocks import UpBlock
from tests.networks.made import build, mednext

_SHAPE = (24, 40, 16)


@pytest.mark.parametrize(
    "settings",
    [{}, {"resampling": "inverted"}, {"dimensions": 2}, {"norm": "layer"}, {"grn": True}],
)
def test_logits_have_the_size_of_the_image(settings):
    network = build(mednext(base_channels=3, **settings))
    shape = _SHAPE[: settings.get("dimensions", 3)]
    with torch.no_grad():
        outputs = network(torch.randn(1, 1, *shape), deep_supervision=True)
    assert [tuple(one.shape[2:]) for one in outputs] == [
        tuple(-(-axis // 2**level) for axis in shape) for level in range(5)
    ]


@pytest.mark.parametrize(
    "settings", [{"resampling": "plain"}, {"mixer": "window_attention", "window": 2}], ids=str
)
def test_other_kinds_take_multiples_of_16(settings):
    network = build(mednext(base_channels=4, **settings))
    with pytest.raises(SettingsError, match="divisible by 16"):
        network(torch.randn(1, 1, *_SHAPE))


@pytest.mark.parametrize("operators", ["auto", "stock"])
def test_what_is_left_out_is_the_last_plane(operators):
    """So that voxel 2n - 1 comes from voxel n - 1 below and the next, as in even images."""
    torch.manual_seed(0)
    block = UpBlock(mednext(base_channels=2).settings, 16, 8, 2, 3, grn=False)
    block.operators = operators
    x, skip = torch.randn(2, 16, 3, 4, 3), torch.randn(2, 8, 5, 8, 6)
    expected = block(x)[:, :, :5] + skip
    torch.testing.assert_close(block(x, skip), expected)
    with pytest.raises(RuntimeError, match="size"):
        block(x, torch.randn(2, 8, 5, 7, 4))


def test_far_from_the_end_it_is_the_network_of_an_even_image():
    """Where no norm looks at the whole image."""
    torch.manual_seed(0)
    network = build(mednext(base_channels=2, norm="layer")).double()
    image = torch.randn(1, 1, 208, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        odd, even = network(image[:, :, :200]), network(image)
    torch.testing.assert_close(odd[:, :, :16], even[:, :, :16])
    assert not torch.allclose(odd[:, :, -16:], even[:, :, 184:200])


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_are_pytorchs(channels, kernel):
    torch.manual_seed(0)
    ours = build(mednext("S", kernel, base_channels=channels))
    theirs = copy.deepcopy(ours).double()
    theirs.operators = "stock"
    image = torch.randn(1, 1, *_SHAPE)
    results = []
    for network, given in ((ours, image), (theirs, image.double())):
        outputs = network(given, deep_supervision=True)
        sum(one.square().mean() for one in outputs).backward()
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        results.append([*(one.detach() for one in outputs), *gradients])
    scale = max(one.norm() for one in results[1][5:])
    for found, expected in zip(*results, strict=True):
        bound = 2e-4 * max(expected.norm(), 0.01 * scale)
        assert (found.double() - expected).norm() < bound
