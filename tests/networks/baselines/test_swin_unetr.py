"""Swin UNETR against MONAI's own, the orders of merging, and what its family says of it."""

import pytest
import torch
from monai.networks import nets

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.baselines.swin_unetr.stage import CORNERS, Merging
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import build_network
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.spec import describe_network
from tests.networks.baselines.references import (
    assert_matches,
    load_reference,
    of_early_monai,
    reference_file,
)

FILES = ["swinunetr", "swinunetr_v2"]
SMALL = {"feature_size": 12, "depths": (1, 2, 1, 2), "num_heads": (1, 2, 3, 4), "window_size": 3}


def image(*shape):
    return torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FILES)
def test_it_computes_what_the_published_code_does(name):
    reference = load_reference(name, "swin_unetr", {})
    assert reference.spec.settings.use_v2 is name.endswith("v2")
    with torch.no_grad():
        assert_matches([reference.network(reference.image)], reference.outputs, 2e-4)


@pytest.mark.parametrize("name", FILES)
def test_published_weights_come_out_as_they_went_in(name, tmp_path):
    source, back = reference_file(name), tmp_path / "back.safetensors"
    checkpoint = import_weights(source, "swin_unetr")
    export_weights(back, checkpoint)
    again = import_weights(back, "swin_unetr")
    assert again.network == checkpoint.network
    assert again.state_dict.keys() == checkpoint.state_dict.keys()
    for key, value in checkpoint.state_dict.items():
        assert torch.equal(again.state_dict[key], value)


def monai_network(tmp_path, **options):
    """MONAI's own network with biases that tell every pair of tokens apart, and its file."""
    torch.manual_seed(1)
    network = nets.SwinUNETR(2, 3, **SMALL, **options).eval()
    for name, weights in network.named_parameters():
        if name.endswith("relative_position_bias_table"):
            torch.nn.init.normal_(weights)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "monai.pt")
    return network, tmp_path / "monai.pt"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, {}),
        ({"use_v2": True, "patch_norm": True}, {}),
        ({"downsample": "mergingv2"}, {"patch_merging": "v2"}),
    ],
)
def test_a_checkpoint_of_monai_gives_its_numbers_and_goes_back(tmp_path, options, said):
    network, path = monai_network(tmp_path, **options)
    checkpoint = import_weights(path, "swin_unetr", said)
    images = image(32, 64, 32)  # windows that are cut short, and shifted along some axes alone
    with torch.no_grad():
        assert_matches([build_network(checkpoint)(images)], [network(images)], 2e-4)
    export_weights(tmp_path / "back.pt", checkpoint)
    written = torch.load(tmp_path / "back.pt")
    for name, value in network.state_dict().items():
        assert torch.equal(written.pop(name), value), name
    assert not written


def test_shortcuts_that_early_versions_saved_and_never_used_are_passed_over(tmp_path):
    network, path = monai_network(tmp_path)
    expected = import_weights(path, "swin_unetr").state_dict
    torch.save({"state_dict": of_early_monai(network.state_dict())}, tmp_path / "early.pt")
    found = import_weights(tmp_path / "early.pt", "swin_unetr").state_dict
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
def test_the_order_of_merging_changes_numbers(tmp_path):
    _, path = monai_network(tmp_path)
    images, outputs = image(32, 32, 64), []
    for order in CORNERS:
        checkpoint = import_weights(path, "swin_unetr", {"patch_merging": order})
        with torch.no_grad():
            outputs.append(build_network(checkpoint)(images))
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)


# The token at (d, h, w) of 2 x 2 x 2 holds 4 d + 2 h + w.
@pytest.mark.parametrize(
    ("order", "joined"),
    [
        ("since_1_5", [0, 4, 2, 1, 6, 5, 3, 7]),
        ("before_1_5", [0, 4, 2, 1, 5, 2, 1, 7]),
        ("v2", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_corners_are_merged_in_the_order_of_each_version(order, joined):
    merging = Merging(1, CORNERS[order])
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    tokens = torch.arange(8.0).reshape(1, 2, 2, 2, 1)
    assert merging(tokens).flatten().tolist() == joined


@pytest.mark.slow
def test_dropout_is_off_in_evaluation():
    rates = {"drop_rate": 0.3, "attn_drop_rate": 0.3, "dropout_path_rate": 0.3}
    network = build_plain(describe_network("swin_unetr", 2, 3, **SMALL, **rates)).eval()
    images = image(32, 32, 64)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        network.train()
        assert not torch.equal(network(images), network(images))


@pytest.mark.parametrize(("use_v2", "parameters"), [(False, 62_187_296), (True, 72_762_656)])
def test_full_size_has_the_published_parameters(use_v2, parameters):
    with torch.device("meta"):
        network = build_plain(describe_network("swin_unetr", 1, 14, use_v2=use_v2))
    assert sum(weights.numel() for weights in network.parameters()) == parameters


def test_patches_are_multiples_of_32_with_more_than_one_voxel_at_the_bottom():
    rule = describe_network("swin_unetr", 1, 2).patch_rule
    assert rule.problem((32, 64, 32)) == ""
    assert "smallest is 32 x 32 x 64" in rule.problem((32, 32, 32))
    assert "divisible by 32" in rule.problem((48, 64, 64))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"feature_size": 40}, "multiple of 12"),
        ({"num_heads": (3, 6, 12, 25)}, "25 heads do not divide the 384 channels of stage 3"),
        ({"depths": (2, 2, 2)}, "depths"),
        ({"patch_merging": "since_1_4"}, "patch_merging"),
        ({"window_size": 100}, "window_size"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, reason):
    with pytest.raises(SettingsError, match=reason):
        describe_network("swin_unetr", 1, 2, **settings)


def test_weights_of_another_network_are_refused(tmp_path):
    _, path = monai_network(tmp_path)
    with pytest.raises(CheckpointError, match="window_size 3, not 7"):
        import_weights(path, "swin_unetr", {"window_size": 7})
    with pytest.raises(CheckpointError, match="not weights of unetr as published"):
        import_weights(path, "unetr")
    torch.save({"out.conv.conv.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not weights of swin_unetr as published"):
        import_weights(tmp_path / "other.pt", "swin_unetr")
