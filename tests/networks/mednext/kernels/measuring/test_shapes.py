"""The distinct blocks of networks, and the work of each."""

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext.kernels.measuring.shapes import BlockShape, find_blocks
from mednext_cli.networks.workload import Workload
from tests.networks.made import mednext


def _blocks(spec, patch=(128, 128, 128)):
    return find_blocks(Workload(spec, patch, 2, torch.float32, True, torch.device("cpu")))


@pytest.mark.parametrize(("size", "kernel", "blocks"), [("S", 3, 26), ("L", 5, 62)])
def test_a_published_network_has_thirteen_distinct_shapes(size, kernel, blocks):
    found = _blocks(mednext(size, kernel))
    assert len(found) == blocks
    assert len({one.shape for one in found.values()}) == 13


def test_shapes_are_those_of_the_forward_pass():
    found = {name: one.shape for name, one in _blocks(mednext("S", 5), (64, 32, 128)).items()}
    assert found["encoder.0.blocks.0"] == BlockShape("block", 2, 32, 64, 32, 5, (64, 32, 128))
    assert found["encoder.1.down"] == BlockShape("down", 2, 64, 128, 128, 5, (32, 16, 64))
    assert found["bottleneck.1"] == BlockShape("block", 2, 512, 1024, 512, 5, (4, 2, 8))
    assert found["decoder.0.up"] == BlockShape("up", 2, 64, 128, 32, 5, (32, 16, 64))
    assert found["decoder.0.up"].name == "up 64-128-32 k5 32x16x64"


def test_what_the_fused_operators_have_not_is_told_apart():
    assert all(one.shape.plain for one in _blocks(mednext("S", 3), (32, 32, 32)).values())
    grn = _blocks(mednext("S", 3, grn=True), (32, 32, 32))
    assert [name for name, one in grn.items() if one.shape.plain] == ["encoder.0.down"]
    mixer = _blocks(mednext("S", 3, mixer="window_attention"), (32, 32, 32))
    assert {one.shape.kernel for one in mixer.values() if not one.shape.plain} == {0}


@pytest.mark.parametrize(
    ("shape", "products"),
    [
        (BlockShape("block", 2, 32, 64, 32, 3, (8, 8, 8)), 2 * 512 * (27 * 32 + 64 * 64)),
        (BlockShape("down", 1, 32, 64, 64, 3, (8, 8, 8)), 64 * (27 * 32 + 64 * 96)),
        (BlockShape("up", 1, 64, 128, 32, 3, (4, 4, 4)), 64 * 27 * 64 + 512 * 128 * 96),
    ],
)
def test_multiply_adds_are_those_of_the_convolutions(shape, products):
    assert shape.multiply_adds(training=False) == products
    assert shape.multiply_adds(training=True) == 3 * products


def test_least_traffic_reads_the_input_and_writes_the_output():
    shape = BlockShape("down", 2, 32, 64, 64, 3, (8, 8, 8))
    inner, outer = 2 * 512 * 32, 2 * 64 * 64
    assert shape.least_bytes(2, training=False) == 2 * (inner + outer)
    assert shape.least_bytes(4, training=True) == 4 * (3 * inner + 2 * outer)


def test_a_patch_that_does_not_fit_is_an_error():
    with pytest.raises(SettingsError, match="divisible"):
        _blocks(mednext("S", 3), (30, 32, 32))
