"""TransBTS against the outputs of its published code."""

import pytest
import torch

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.spec import describe_network
from mednext_cli.networks.weight_files import read_weights
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.settings.recipe import ModelSettings
from tests.networks.baselines.references import assert_matches, assert_round_trip, load_reference

_SMALL = {"base_channels": 8, "hidden_dim": 16, "layers": 2}
_UNUSED = ("linear_encoding.", "pre_head_ln.")


def test_outputs_are_the_published_ones():
    reference = load_reference("transbts", "transbts", {})
    with torch.no_grad():
        assert_matches([reference.network(reference.image)], reference.outputs, tolerance=2e-4)


def test_weights_go_in_and_out_unchanged(tmp_path):
    assert_round_trip("transbts", "transbts", {}, tmp_path, beside=_UNUSED)


def _weights(tmp_path, **settings):
    """Published weights of a small network, and the checkpoint they are of."""
    spec = describe_network("transbts", 2, 3, **_SMALL, **settings)
    checkpoint = Checkpoint(spec, build_plain(spec).state_dict())
    export_weights(tmp_path / "weights.pt", checkpoint)
    return tmp_path / "weights.pt", checkpoint


def test_layers_that_are_never_used_are_written_and_not_read(tmp_path):
    path, checkpoint = _weights(tmp_path, patch_voxels=(32, 32, 32))
    unused = {name: one for name, one in read_weights(path).items() if name.startswith(_UNUSED)}
    assert {name: tuple(one.shape) for name, one in unused.items()} == {
        "linear_encoding.weight": (256, 128),
        "linear_encoding.bias": (256,),
        "pre_head_ln.weight": (256,),
        "pre_head_ln.bias": (256,),
    }
    imported = import_weights(path, "transbts")
    assert imported.network == checkpoint.network
    for name, value in imported.state_dict.items():
        assert torch.equal(value, checkpoint.state_dict[name]), name


def test_what_the_weights_do_not_tell_is_said(tmp_path):
    patch = (16, 24, 40)
    path, _ = _weights(tmp_path, patch_voxels=patch, heads=4)
    with pytest.raises(CheckpointError, match="tokens, which does not tell its shape"):
        import_weights(path, "transbts", {"heads": 4})
    imported = import_weights(path, "transbts", {"patch_voxels": patch, "heads": 4})
    assert imported.network.patch_rule.fixed == patch
    with pytest.raises(CheckpointError, match="layers 2, not 3"):
        import_weights(path, "transbts", {"layers": 3, "patch_voxels": patch})
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not weights of transbts as published"):
        import_weights(path, "transbts")


@pytest.mark.parametrize(
    ("channels", "classes", "edge", "parameters", "multiply_adds"),
    [
        (1, 14, 128, 32_789_854 - 67_072, 323_028_516_864),
        (4, 4, 128, 32_987_588 - 263_680, 325_410_881_536),
        (1, 14, 96, 31_577_438 - 67_072, 119_517_216_768),
    ],
)
def test_full_size_counts_are_exact(channels, classes, edge, parameters, multiply_adds):
    """Without the layers of the published network that it never uses."""
    spec = describe_network("transbts", channels, classes, patch_voxels=(edge,) * 3)
    counted = count_complexity(spec, (edge,) * 3)
    assert (counted.parameters, counted.multiply_adds) == (parameters, multiply_adds)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"base_channels": 12}, "multiple of 8"),
        ({"heads": 7}, "heads do not divide"),
        ({"patch_voxels": (12, 16, 16)}, "divisible by 8"),
        ({"patch_voxels": (8, 8, 8)}, "smallest is 8 x 8 x 16"),
        ({"dropout": 1.0}, "less than 1"),
        ({"input_dropout_in_evaluation": "yes"}, "input_dropout_in_evaluation"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, problem):
    with pytest.raises(SettingsError, match=problem) as refused:
        describe_network("transbts", 1, 2, **settings)
    assert "\n" not in refused.value.message


def test_it_is_tied_to_the_planned_patch():
    model = ModelSettings.model_validate({"network": "transbts", "transbts": _SMALL})
    planned = choose_network(model).planned((12, 30, 41))
    spec = planned.spec(1, 2)
    assert spec.patch_rule.fixed == (16, 32, 40)
    network = build_plain(spec).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 16, 32, 40)).shape == (1, 2, 16, 32, 40)
    with pytest.raises(SettingsError, match="patch"):
        network(torch.zeros(1, 1, 32, 32, 32))


@pytest.mark.parametrize("everywhere", [True, False])
def test_the_first_features_are_dropped_in_evaluation_where_that_is_asked_for(everywhere):
    torch.manual_seed(0)
    spec = describe_network(
        "transbts",
        1,
        2,
        patch_voxels=(16, 16, 16),
        input_dropout_in_evaluation=everywhere,
        **_SMALL,
    )
    network, image = build_plain(spec).eval(), torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        outputs = [network(image) for _ in range(4)]
    same = all(torch.equal(outputs[0], other) for other in outputs[1:])
    assert same is not everywhere
