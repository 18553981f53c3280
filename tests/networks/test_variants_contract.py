"""What holds for every family also holds for its other networks: of slices, and other versions."""

from dataclasses import replace

import pytest
import torch

from mednext_cli.networks.building import build_plain
from tests.networks import small_networks
from tests.networks import test_registry_contract as contract
from tests.networks.small_networks import SMALL, Small

VARIANTS = {
    "mednext_2d": Small(
        (1, 16, 32),
        {"base_channels": 4, "dimensions": 2, "expansion": (2,) * 9, "blocks": (1,) * 9},
        family="mednext",
    ),
    "nnunet_2d": Small((1, 24, 16), {"features": 4, "dimensions": 2}, family="nnunet"),
    "nnunet_resenc_2d": Small(
        (1, 24, 16), {"features": 4, "dimensions": 2}, family="nnunet_resenc"
    ),
    "nnformer_synapse": Small(
        (16, 32, 32),
        {"variant": "synapse", "embed_dim": 24, "depths": (2, 1, 1, 1)},
        family="nnformer",
    ),
    "swin_unetr_v2": Small(
        (32, 64, 32), {**SMALL["swin_unetr"].settings, "use_v2": True}, family="swin_unetr"
    ),
}
CONTRACT = (
    contract.test_settings_come_back_from_plain_values,
    contract.test_computing_again_changes_nothing,
    contract.test_it_is_built_and_run_without_memory,
    pytest.param(contract.test_half_precision_is_finite, marks=pytest.mark.slow),
    pytest.param(contract.test_it_is_compiled_as_one_graph, marks=pytest.mark.slow),
)


every_variant = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if "v2" in name else name for name in VARIANTS],
)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, small in VARIANTS.items():
        monkeypatch.setitem(small_networks.SMALL, name, small)


@every_variant
@pytest.mark.parametrize("holds", CONTRACT)
def test_what_holds_for_every_network(name, holds):
    holds(name)


@every_variant
def test_gradients_reach_every_weight(name):
    deep = contract.family_of(name).deep_supervision
    contract.test_gradients_reach_every_weight_that_is_used(name, deep)


@every_variant
def test_a_checkpoint_gives_the_same_network(name, tmp_path):
    contract.test_a_checkpoint_gives_the_same_network(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mednext", "mednext_2d"])
def test_one_graph_takes_patches_of_any_size(name, monkeypatch):
    """As a compiled network is given when it predicts scans smaller than its patch.

    Blocks of every kind, at every resolution, but fewer: each is compiled for as long.
    """
    fewer = {"expansion": (2,) * 9, "blocks": (2, *(1,) * 8)}
    settings = {**fewer, **small_networks.SMALL[name].settings}
    small = replace(small_networks.SMALL[name], settings=settings)
    monkeypatch.setitem(small_networks.SMALL, name, small)
    network = build_plain(small_networks.small_spec(name)).eval().double()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True, dynamic=True)
    images = small_networks.small_image(name).double()
    with torch.no_grad():
        for given in (images, torch.cat([images, images], -1)):
            torch.testing.assert_close(compiled(given), network(given))
