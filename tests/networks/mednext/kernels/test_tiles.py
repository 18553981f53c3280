"""Tiles follow the device: its shared memory, its multiprocessors."""

from types import SimpleNamespace

import pytest
import torch

from mednext_cli.networks.mednext.kernels import tiles
from mednext_cli.networks.mednext.kernels.limits import LIMITS, limits_of


@pytest.mark.parametrize(
    ("capability", "rows"), [(80, 64), (86, 32), (89, 32), (90, 64), (120, 32)]
)
def test_the_largest_fused_block_fits_every_gpu(capability, rows):
    """64 rows ask for 104,448 bytes, more than the 101,376 of sm_86, 89 and 120."""
    assert tiles.block_weight_tile(128, 1024, 128, 2, LIMITS[capability]).rows == rows


def test_limits_are_the_devices_own(monkeypatch):
    found = SimpleNamespace(
        shared_memory_per_block_optin=101_376,
        multi_processor_count=58,
        regs_per_multiprocessor=65_536,
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: found)
    limits = limits_of(torch.device("cuda", 71))
    assert (limits.shared_memory, limits.multiprocessors) == (101_376, 58)
    assert limits_of(torch.device("cpu")) == LIMITS[90]


@pytest.mark.parametrize(
    ("shape", "channels", "most"),
    # (batch 2) how much more than its own planes a program may compute, on 132 multiprocessors
    [((128, 128, 128), 32, 0.07), ((64, 64, 64), 64, 0.07), ((32, 32, 32), 128, 0.13)],
)
def test_programs_walk_far_where_the_device_is_full_anyway(shape, channels, most):
    tile = tiles.convolution_tile(5, shape[2], channels, 2)
    count = tiles.planes(shape, 2, channels, 5, tile, LIMITS[90])
    assert 4 / count <= most


def test_a_small_volume_is_shared_among_more_programs():
    tile = tiles.convolution_tile(3, 16, 32, 2)
    assert tiles.planes((64, 4, 16), 1, 32, 3, tile, LIMITS[90]) < 64
