"""nnU-Net's plain and residual-encoder U-Net: what nnU-Net computes, plans and saves."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.baselines.nnunet.topology import plan_topology
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint, build_network, save_checkpoint
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.published import import_weights
from mednext_cli.networks.registry import find_family
from mednext_cli.networks.spec import describe_network
from mednext_cli.settings.recipe import ModelSettings
from tests.networks.baselines.references import assert_matches, load_reference
from tests.places import COMMITTED

library = pytest.importorskip("dynamic_network_architectures.architectures.unet")
_TOPOLOGIES = json.loads((COMMITTED / "nnunet_topology.json").read_text())
_KINDS = {"nnunet": "PlainConvUNet", "nnunet_resenc": "ResidualEncoderUNet"}
_ANISOTROPIC = {
    "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    "kernel_sizes": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
}
_PATCH = (8, 16, 12)


def tiny(name: str, deep_supervision: bool = True, **settings: Any):
    chosen = {"features": 4, **_ANISOTROPIC, **settings}
    return describe_network(name, 2, 3, deep_supervision, **chosen)


def published_network(name: str) -> nn.Module:
    """Of the library itself, the same as `tiny`, with weights by chance."""
    blocks = {
        "nnunet": {"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 2},
        "nnunet_resenc": {"n_blocks_per_stage": [1, 3, 4], "n_conv_per_stage_decoder": 1},
    }
    network = getattr(library, _KINDS[name])(
        input_channels=2,
        n_stages=3,
        features_per_stage=(4, 8, 16),
        conv_op=nn.Conv3d,
        num_classes=3,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
        **_ANISOTROPIC,
        **blocks[name],
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def nnunet_checkpoint(network: nn.Module) -> dict[str, Any]:
    """As nnU-Net v2's trainer saves it, but for its optimiser."""
    return {
        "network_weights": network.state_dict(),
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "epoch_start_timestamps": [1.5]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 3,
        "init_args": {"fold": 0, "device": torch.device("cuda", 0), "plans": {"a": [1, None]}},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("plain_unet", "nnunet"),
        ("plain_unet_anisotropic", "nnunet"),
        ("residual_encoder_unet", "nnunet_resenc"),
    ],
)
def test_outputs_are_the_published_ones(file, name):
    reference = load_reference(file, name, {})
    with torch.no_grad():
        outputs = reference.network(reference.image, deep_supervision=True)
        single = reference.network(reference.image)
    assert_matches(outputs, reference.outputs)
    assert torch.equal(single, outputs[0])


@pytest.mark.parametrize("name", _KINDS)
def test_a_checkpoint_of_nnunet_computes_the_same(name, tmp_path):
    theirs = published_network(name)
    torch.save(nnunet_checkpoint(theirs), tmp_path / "checkpoint_final.pth")
    checkpoint = import_weights(tmp_path / "checkpoint_final.pth", name)
    assert checkpoint.network == tiny(name)
    image = torch.randn(2, 2, *_PATCH)
    with torch.no_grad():
        outputs = build_network(checkpoint)(image, deep_supervision=True)
        expected = theirs(image)
    assert len(outputs) == 2
    assert all(map(torch.equal, outputs, expected))


@pytest.mark.parametrize("name", _KINDS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_what_is_exported_loads_into_the_published_network_and_comes_back(name, suffix, tmp_path):
    spec, out = tiny(name), tmp_path / f"published{suffix}"
    torch.manual_seed(0)
    weights = {
        key: torch.randn_like(value) for key, value in build_plain(spec).state_dict().items()
    }
    save_checkpoint(tmp_path / "ours.pt", Checkpoint(spec, weights))
    assert main(["weights", "export", str(tmp_path / "ours.pt"), "--out", str(out)]) == 0
    if suffix == ".pth":
        saved = torch.load(out, weights_only=True)["network_weights"]  # where nnU-Net looks
        published_network(name).load_state_dict(saved)
    again = import_weights(out, name)
    assert again.network == spec
    assert again.state_dict.keys() == weights.keys()
    assert all(torch.equal(again.state_dict[key], value) for key, value in weights.items())


@pytest.mark.parametrize("name", _KINDS)
def test_heads_that_were_not_trained_are_zero_in_the_published_network(name, tmp_path):
    spec, out = tiny(name, deep_supervision=False), tmp_path / "published.pth"
    weights = build_plain(spec).state_dict()
    assert [key for key in weights if key.startswith("heads.")] == [
        "heads.0.weight",
        "heads.0.bias",
    ]
    save_checkpoint(tmp_path / "ours.pt", Checkpoint(spec, weights))
    assert main(["weights", "export", str(tmp_path / "ours.pt"), "--out", str(out)]) == 0
    theirs = published_network(name)
    theirs.load_state_dict(torch.load(out, weights_only=True)["network_weights"])
    assert theirs.decoder.seg_layers[0].weight.abs().max() == 0
    assert import_weights(out, name).network == spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "nnunet_resenc"], "are of nnunet, not nnunet_resenc"),
        (["--network", "nnunet", "--set=features=8"], "have features 4, not 8"),
        (["--network", "nnunet", "--set=feature=8"], "not permitted. --set takes features, max_"),
        (["--network", "mednext"], "not weights of the published MedNeXt"),
    ],
)
def test_weights_of_another_network_are_refused(options, message, tmp_path, capsys):
    path, out = tmp_path / "theirs.pth", tmp_path / "ours.pt"
    torch.save(published_network("nnunet").state_dict(), path)
    assert main(["weights", "import", str(path), *options, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_without_the_library_one_line_says_what_to_install(monkeypatch, capsys):
    lacking = {"no_such_package": "mednext[baselines]"}
    monkeypatch.setattr(find_family("nnunet"), "requires", lacking, raising=False)
    assert main(["recipes", "check", "baselines/nnunet"]) == 2
    said = capsys.readouterr().err
    assert "nnunet needs the package no_such_package, which is not installed" in said
    assert "pip install 'mednext[baselines]'" in said


def test_a_library_that_does_not_load_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('made for\\nanother torch')")
    monkeypatch.syspath_prepend(tmp_path)
    lacking = {"broken_package": "mednext[baselines]"}
    monkeypatch.setattr(find_family("nnunet"), "requires", lacking, raising=False)
    assert main(["recipes", "check", "baselines/nnunet"]) == 2
    said = capsys.readouterr().err
    assert "does not load (RuntimeError: made for another torch)" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("fault", ["bottom", "head", "second value", "extra"])
def test_weights_that_are_damaged_are_refused(fault, tmp_path, capsys):
    weights = dict(published_network("nnunet").state_dict())
    if fault == "bottom":
        weights = {key: value for key, value in weights.items() if "stages.2" not in key}
    elif fault == "head":
        del weights["decoder.seg_layers.1.weight"]
    elif fault == "extra":
        weights["decoder.stages.9.convs.0.conv.weight"] = torch.zeros(1)
    else:
        name = "decoder.encoder.stages.0.0.convs.0.conv.weight"
        weights[name] = weights[name] + 1
    path = tmp_path / "theirs.pth"
    torch.save(weights, path)
    command = ["weights", "import", str(path), "--network", "nnunet"]
    assert main([*command, "--out", str(tmp_path / "ours.pt")]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "parameters"), [("nnunet", 31_205_254), ("nnunet_resenc", 102_359_430)]
)
def test_full_size_parameter_counts_are_exact(name, parameters):
    with torch.device("meta"):
        network = build_plain(describe_network(name, 1, 14))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("case", _TOPOLOGIES, ids=lambda case: f"{case['patch']}-{case['spacing']}")
def test_stages_are_those_that_nnunet_plans(case):
    topology = plan_topology(case["patch"], case["spacing"])
    assert topology.strides == tuple(map(tuple, case["strides"]))
    assert topology.kernel_sizes == tuple(map(tuple, case["kernel_sizes"]))


def test_a_plan_decides_the_stages_and_with_them_the_patch():
    chosen = choose_network(ModelSettings(network="nnunet"))
    spec = chosen.planned((20, 160, 160), (5.0, 0.8, 0.8)).spec(1, 2)
    assert spec.settings.strides[1:] == ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert spec.settings.kernel_sizes[:3] == ((1, 3, 3), (1, 3, 3), (3, 3, 3))
    assert spec.patch_rule.divisors == (4, 32, 32)
    assert spec.patch_rule.fit((20, 160, 160)) == (20, 160, 160)
    with pytest.raises(SettingsError, match="divisible by 4, 32, 32"):
        spec.patch_rule.check((20, 150, 160))
    assert chosen.label == "nnunet"


def test_stages_that_were_chosen_stay():
    table = {"strides": [[1] * 3, [2] * 3], "kernel_sizes": [[3] * 3, [3] * 3]}
    chosen = choose_network(ModelSettings(network="nnunet", nnunet=table))
    assert chosen.planned((128, 128, 128)).settings == chosen.settings
    assert chosen.label == "nnunet-strides111_222-kernel_sizes333_333"


@pytest.mark.parametrize("patch", [(7, 7, 11), (4, 4, 4)])
def test_a_patch_that_nothing_of_can_be_halved_is_refused(patch):
    with pytest.raises(SettingsError, match="nothing that can be halved"):
        choose_network(ModelSettings(network="nnunet")).planned(patch)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"features": 0}, "features"),
        ({"encoder_blocks": []}, "encoder_blocks"),
        ({"decoder_blocks": [True]}, "true or false"),
        ({"strides": [[1] * 3, [2] * 3]}, "must be given together"),
        ({"strides": [[1] * 3, [2] * 3], "kernel_sizes": [[3] * 3] * 3}, "as many stages"),
        ({"strides": [[2] * 3, [2] * 3], "kernel_sizes": [[3] * 3] * 2}, "first stage are 1"),
        ({"strides": [[1] * 2, [2] * 2], "kernel_sizes": [[3] * 2] * 2}, "3 numbers a stage"),
        ({"strides": [[1] * 3, [5] * 3], "kernel_sizes": [[3] * 3] * 2}, "strides.1.0"),
        ({"strides": [[1] * 3, [2] * 3], "kernel_sizes": [[3] * 3, [4] * 3]}, "kernel_sizes.1"),
    ],
)
def test_settings_that_cannot_be_are_refused(table, message):
    with pytest.raises(SettingsError, match=message):
        choose_network(ModelSettings(network="nnunet_resenc", nnunet_resenc=table))


@pytest.mark.parametrize("name", _KINDS)
def test_two_dimensions_have_wider_stages_and_take_slices(name):
    spec = describe_network(name, 1, 2, features=32, dimensions=2)
    wide = describe_network(
        name, 1, 2, dimensions=2, strides=((1, 1),) + ((2, 2),) * 5, kernel_sizes=((3, 3),) * 6
    )
    assert wide.settings.widths[-1] == 512
    assert spec.patch_rule.smallest == (32, 64)
    small = describe_network(name, 1, 2, features=4, dimensions=2)
    outputs = build_plain(small)(torch.randn(1, 1, 1, 64, 64), deep_supervision=True)
    assert [tuple(output.shape) for output in outputs[:2]] == [(1, 2, 1, 64, 64), (1, 2, 1, 32, 32)]


@pytest.mark.slow
@pytest.mark.parametrize("name", _KINDS)
def test_compiled_and_exported_networks_compute_the_same(name):
    network = build_plain(tiny(name)).eval()
    image = torch.randn(1, 2, *_PATCH)
    with torch.no_grad():
        expected = network(image)
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)(image)
        exported = torch.export.export(network, (image,), strict=True).module()(image)
    assert (compiled - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (exported - expected).abs().max() <= 1e-5 * expected.abs().max()
