"""UNETR against MONAI's own, and what its family says of it."""

import pytest
import torch
from monai.networks import nets

from mednext_cli.app import main
from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.registry import find_family
from mednext_cli.networks.spec import describe_network
from mednext_cli.settings.recipe import ModelSettings
from tests.networks.baselines.references import (
    assert_matches,
    assert_round_trip,
    load_reference,
    of_early_monai,
)

FILES = ["unetr", "unetr_perceptron"]  # with tokens of a convolution, and of a linear layer
SAID = {"num_heads": 4, "patch_voxels": [32, 48, 32]}
SMALL = {"feature_size": 2, "hidden_size": 8, "mlp_dim": 16, "num_heads": 2}


def small(patch=(16, 32, 16), **settings):
    return describe_network("unetr", 2, 3, patch_voxels=patch, **{**SMALL, **settings})


def image(*shape):
    return torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FILES)
def test_it_computes_what_the_published_code_does(name):
    reference = load_reference(name, "unetr", SAID)
    with torch.no_grad():
        assert_matches([reference.network(reference.image)], reference.outputs)


@pytest.mark.parametrize("name", FILES)
def test_published_weights_come_out_as_they_went_in(name, tmp_path):
    assert_round_trip(name, "unetr", SAID, tmp_path)


@pytest.fixture
def monai(tmp_path):
    """MONAI's own network on cubes of 32 voxels, and a file of its weights."""
    torch.manual_seed(1)
    network = nets.UNETR(2, 3, 32, proj_type="perceptron", **SMALL).eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "monai.pt")
    return network, tmp_path / "monai.pt"


def test_a_checkpoint_of_monai_gives_its_numbers_and_goes_back(monai, tmp_path):
    network, path = monai
    checkpoint = import_weights(path, "unetr", {"num_heads": 2})
    assert checkpoint.network.patch_rule.fixed == (32, 32, 32)
    images = image(32, 32, 32)
    with torch.no_grad():
        assert_matches([build_network(checkpoint)(images)], [network(images)])
    export_weights(tmp_path / "back.pt", checkpoint)
    network.load_state_dict(torch.load(tmp_path / "back.pt"))


@pytest.mark.parametrize("version", ["before its norm", "with cross attention", "the first"])
def test_weights_of_other_versions_are_read(monai, tmp_path, version):
    network, _ = monai
    weights = network.state_dict()
    if version == "before its norm":
        weights = {name: value for name, value in weights.items() if "cross" not in name}
    elif version == "the first":  # of the published weights for BTCV
        weights = of_early_monai(weights)
        weights["vit.patch_embedding.cls_token"] = torch.ones(1, 1, 8)
    else:
        weights["vit.blocks.0.cross_attn.to_q.weight"] = torch.ones(8, 8)
    torch.save(weights, tmp_path / "old.pt")
    checkpoint = import_weights(tmp_path / "old.pt", "unetr", {"num_heads": 2})
    images = image(32, 32, 32)
    with torch.no_grad():
        assert_matches([build_network(checkpoint)(images)], [network(images)])


def test_dropout_is_off_in_evaluation():
    network = build_plain(small(dropout_rate=0.5)).eval()
    images = image(16, 32, 16)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        network.train()
        assert not torch.equal(network(images), network(images))


@pytest.mark.parametrize(("edge", "parameters"), [(96, 92_802_478), (128, 93_029_806)])
def test_full_size_has_the_published_parameters(edge, parameters):
    with torch.device("meta"):
        network = build_plain(describe_network("unetr", 1, 14, patch_voxels=(edge,) * 3))
    assert sum(weights.numel() for weights in network.parameters()) == parameters


def test_without_a_plan_it_is_the_published_one():
    family = find_family("unetr")
    assert family.fixed_patch(family.Settings()) == (128, 128, 128)
    assert family.label(family.Settings(proj_type="conv")) == "unetr-proj_typeconv"


def test_it_is_tied_to_the_plans_patch():
    chosen = choose_network(ModelSettings(network="unetr"))
    spec = chosen.planned((100, 128, 70)).spec(1, 2)
    assert spec.patch_rule.fixed == (96, 128, 64)
    assert "takes 96 x 128 x 64 only" in spec.patch_rule.problem((96, 96, 96))


def test_a_patch_that_is_chosen_stays():
    model = ModelSettings.model_validate(
        {"network": "unetr", "unetr": {"patch_voxels": [64, 64, 32]}}
    )
    assert choose_network(model).planned((128, 128, 128)).settings.patch_voxels == (64, 64, 32)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"num_heads": 5}, "hidden_size must be divisible by num_heads"),
        ({"patch_voxels": (16, 24, 16)}, "multiple of 16"),
        ({"dropout_rate": 1.5}, "dropout_rate"),
        ({"proj_type": "fourier"}, "proj_type"),
        ({"feature_size": True}, "feature_size"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, reason):
    with pytest.raises(SettingsError, match=reason):
        describe_network("unetr", 1, 2, **settings)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"hidden_size": 16}, "hidden_size 8, not 16"),
        ({"patch_voxels": [32, 32, 48]}, "do not fit the network"),
    ],
)
def test_weights_of_another_network_than_was_said_are_refused(monai, said, reason):
    with pytest.raises(CheckpointError, match=reason):
        import_weights(monai[1], "unetr", {"num_heads": 2, **said})


def test_tokens_of_no_cube_ask_for_the_patch(tmp_path):
    spec = small()
    export_weights(tmp_path / "box.pt", Checkpoint(spec, build_plain(spec).state_dict()))
    with pytest.raises(CheckpointError, match="2 tokens, which does not tell its shape"):
        import_weights(tmp_path / "box.pt", "unetr", {"num_heads": 2})


def test_other_weights_are_refused_in_one_line(tmp_path, capsys):
    torch.save({"stem.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    command = ["weights", "import", str(tmp_path / "other.pt"), "--network", "unetr"]
    assert main([*command, "--out", str(tmp_path / "out.pt")]) == 2
    said = capsys.readouterr().err
    assert "these are not weights of unetr as published" in said
    assert said.count("\n") == 1
