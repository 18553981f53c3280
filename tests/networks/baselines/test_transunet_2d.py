"""2D TransUNet against the published code, and what its family says of it."""

import pytest
import torch

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.registry import find_family
from mednext_cli.networks.spec import describe_network
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.settings.recipe import ModelSettings
from tests.networks.baselines.references import assert_matches, assert_round_trip, load_reference

NAME, HEADS = "transunet2d", {"vit_heads": 4}
SMALL = {
    "patch_voxels": (1, 32, 48),
    "base_channels": 32,
    "resnet_blocks": (1, 1, 1),
    "vit_layers": 1,
    "vit_width": 8,
    "vit_mlp_width": 16,
    "vit_heads": 2,
    "decoder_channels": (8, 8, 8, 8),
}


def small(in_channels=1, **settings):
    return describe_network("transunet_2d", in_channels, 3, **SMALL, **settings)


def test_it_computes_what_the_published_code_does():
    reference = load_reference(NAME, "transunet_2d", HEADS)
    with torch.no_grad():
        output = reference.network(reference.image.unsqueeze(2))
    assert_matches([output.squeeze(2)], reference.outputs, 2e-4)


def test_a_round_trip_is_exact(tmp_path):
    assert_round_trip(NAME, "transunet_2d", HEADS, tmp_path)


def test_the_published_size():
    complexity = count_complexity(describe_network("transunet_2d", 1, 14), (1, 512, 512))
    assert complexity.parameters == 105_913_710
    assert complexity.multiply_adds == 168_586_100_736


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_slices_of_any_channels_go_in_and_come_out(channels):
    network = build_plain(small(channels)).eval()
    with torch.no_grad():
        assert network(torch.randn(2, channels, 1, 32, 48)).shape == (2, 3, 1, 32, 48)


def test_one_channel_is_repeated():
    network = build_plain(small()).eval()
    slices = torch.randn(1, 1, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(slices), network(slices.repeat(1, 3, 1, 1, 1)))
    assert network.backbone.root.conv.in_channels == 3
    assert build_plain(small(repeat_channel=False)).backbone.root.conv.in_channels == 1


def test_gradients_reach_all_weights():
    network = build_plain(small())
    network(torch.randn(2, 1, 1, 32, 48)).square().mean().backward()
    assert all(weights.grad is not None for weights in network.parameters())


@pytest.mark.parametrize(
    ("asked", "patch"),
    [((1, 512, 512), (1, 512, 512)), ((128, 130, 95), (1, 128, 96)), ((1, 2, 2), (1, 32, 16))],
)
def test_it_is_tied_to_the_nearest_slice(asked, patch):
    chosen = choose_network(ModelSettings(network="transunet_2d")).planned(asked)
    assert chosen.family.fixed_patch(chosen.settings) == patch
    assert chosen.family.patch_rule(chosen.settings).problem(patch) == ""
    assert chosen.planned((1, 64, 64)) == chosen


def test_other_slices_are_refused():
    with pytest.raises(SettingsError, match="takes 1 x 32 x 48 only"):
        build_plain(small())(torch.randn(1, 1, 1, 48, 48))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vit_heads": 7}, "vit_width must be a multiple of vit_heads"),
        ({"base_channels": 48}, "multiple of 32"),
        ({"patch_voxels": [1, 500, 512]}, "divisible by 16"),
        ({"patch_voxels": [1, 16, 16]}, "the smallest is 16 x 32"),
        ({"patch_voxels": [2, 512, 512]}, "patch_voxels"),
        ({"resnet_blocks": [3, 4]}, "resnet_blocks"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        choose_network(ModelSettings(network="transunet_2d", transunet_2d=settings))


def test_the_network_is_read_off_the_shapes(tmp_path):
    spec, path = small(), tmp_path / "theirs.safetensors"
    export_weights(path, Checkpoint(spec, build_plain(spec).state_dict()))
    said = {"vit_heads": 2, "patch_voxels": [1, 32, 48]}
    assert import_weights(path, "transunet_2d", said).network == spec
    of_colours = import_weights(path, "transunet_2d", {**said, "repeat_channel": False}).network
    assert (of_colours.in_channels, of_colours.out_channels) == (3, 3)
    with pytest.raises(CheckpointError, match="have base_channels 32, not 64"):
        import_weights(path, "transunet_2d", {**said, "base_channels": 64})
    with pytest.raises(CheckpointError, match="6 tokens, which does not tell its shape"):
        import_weights(path, "transunet_2d", {"vit_heads": 2})
    with pytest.raises(CheckpointError, match="position_embeddings has shape"):
        import_weights(path, "transunet_2d", {**said, "patch_voxels": [1, 32, 32]})


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"stem.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not weights of transunet_2d as published"):
        import_weights(path, "transunet_2d")


def test_it_has_no_heads_on_lower_resolutions():
    family = find_family("transunet_2d")
    assert not family.supervises(family.Settings())
    with pytest.raises(SettingsError, match="no heads for deep supervision"):
        describe_network("transunet_2d", 1, 3, deep_supervision=True)
