"""3D UX-Net against the published code, and what its family says of it."""

import pytest
import torch

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.baselines.uxnet.encoder import Block
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.spec import describe_network
from tests.networks.baselines.references import (
    assert_matches,
    assert_round_trip,
    load_reference,
    of_early_monai,
)

SMALL = {"depths": (1, 2, 1, 1), "feat_size": (2, 3, 4, 5), "hidden_size": 6}


def image(*shape):
    return torch.randn(2, 2, *shape, generator=torch.Generator().manual_seed(0))


def test_it_computes_what_the_published_code_does():
    reference = load_reference("uxnet", "uxnet", {})
    with torch.no_grad():
        assert_matches([reference.network(reference.image)], reference.outputs)


def test_published_weights_come_out_as_they_went_in(tmp_path):
    assert_round_trip("uxnet", "uxnet", {}, tmp_path)


def test_settings_are_read_off_the_weights(tmp_path):
    spec = describe_network("uxnet", 2, 3, **SMALL)
    export_weights(tmp_path / "ux.pt", Checkpoint(spec, build_plain(spec).state_dict()))
    assert import_weights(tmp_path / "ux.pt", "uxnet").network == spec
    with pytest.raises(CheckpointError, match=r"depths \(1, 2, 1, 1\), not \(2, 2, 2, 2\)"):
        import_weights(tmp_path / "ux.pt", "uxnet", {"depths": (2, 2, 2, 2)})


def test_shortcuts_that_early_versions_of_monai_saved_are_passed_over(tmp_path):
    spec = describe_network("uxnet", 2, 3, **SMALL)
    published = export_weights(tmp_path / "ux.pt", Checkpoint(spec, build_plain(spec).state_dict()))
    torch.save(of_early_monai(published), tmp_path / "early.pt")
    found = import_weights(tmp_path / "early.pt", "uxnet")
    assert found.network == spec
    assert found.state_dict.keys() == published.keys()


def test_other_weights_are_refused(tmp_path):
    torch.save({"out.conv.conv.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not weights of uxnet as published"):
        import_weights(tmp_path / "other.pt", "uxnet")


def test_full_size_has_the_published_parameters():
    with torch.device("meta"):
        network = build_plain(describe_network("uxnet", 1, 14))
    assert sum(weights.numel() for weights in network.parameters()) == 53_006_510


def test_no_channel_of_a_block_sees_another():
    block = Block(3, scale=1.0, drop_rate=0.0)
    block.norm = torch.nn.Identity()  # which alone looks at all channels of a voxel
    images = torch.randn(1, 3, 4, 4, 4)
    changed = images.clone()
    changed[:, 1] += 1
    differs = (block(images) != block(changed)).flatten(2).any(2)[0]
    assert differs.tolist() == [False, True, False]


def test_a_block_that_is_always_skipped_gives_its_input():
    block, images = Block(3, scale=1.0, drop_rate=0.999999), torch.randn(4, 3, 4, 4, 4)
    torch.manual_seed(0)
    assert torch.equal(block.train()(images), images)
    assert not torch.equal(block.eval()(images), images)


def test_patches_are_multiples_of_16_with_more_than_one_voxel_at_the_bottom():
    rule = describe_network("uxnet", 1, 2).patch_rule
    assert rule.problem((16, 32, 16)) == ""
    assert "smallest is 16 x 16 x 32" in rule.problem((16, 16, 16))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"feat_size": (48, 96, 192)}, "feat_size"),
        ({"depths": (2, 2, 2, 0)}, "depths"),
        ({"layer_scale": 0.0}, "layer_scale"),
        ({"drop_path_rate": 1}, "drop_path_rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, reason):
    with pytest.raises(SettingsError, match=reason):
        describe_network("uxnet", 1, 2, **settings)
