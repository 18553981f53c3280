"""3D TransUNet against the published code, and what its family says of it."""

import pytest
import torch

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.baselines.transunet.mask_decoder import MaskPrediction
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.registry import find_family
from mednext_cli.networks.spec import describe_network
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.settings.recipe import ModelSettings
from tests.networks import small_networks
from tests.networks import test_registry_contract as contract
from tests.networks.baselines.references import (
    assert_matches,
    assert_round_trip,
    load_reference,
)
from tests.networks.small_networks import Small

ENCODER_ONLY = ["transunet3d_encoder", "transunet3d_encoder_layerscale"]
WITH_MASKS = ["transunet3d_encoder_decoder", "transunet3d_decoder"]
HEADS = {"vit_heads": 4}
SMALL = {
    "base_channels": 4,
    "most_channels": 16,
    "vit_layers": 1,
    "vit_width": 8,
    "vit_mlp_width": 16,
    "vit_heads": 2,
    "mask_width": 96,
    "mask_queries": 4,
    "mask_layers": 3,
    "mask_layer_scale": False,
}
TRIPLES = tuple((2, 2, 2) for _ in range(3))


def small(transformer="encoder", deep_supervision=None, **settings):
    patch = {} if transformer == "decoder" else {"patch_voxels": (16, 32, 16)}
    values = {**SMALL, **patch, "strides": TRIPLES, **settings}
    return describe_network("transunet", 2, 3, deep_supervision, transformer=transformer, **values)


def image(*shape, channels=2):
    return torch.randn(1, channels, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ENCODER_ONLY)
def test_encoder_only_computes_what_the_published_code_does(name):
    reference = load_reference(name, "transunet", HEADS)
    assert reference.spec.settings.vit_layer_scale is name.endswith("layerscale")
    with torch.no_grad():
        outputs = reference.network(reference.image, deep_supervision=True)
        assert_matches(outputs, reference.outputs)
        assert_matches([reference.network(reference.image)], reference.outputs[:1])


@pytest.mark.parametrize("name", WITH_MASKS)
def test_the_mask_decoder_computes_what_the_published_code_does(name):
    reference = load_reference(name, "transunet", HEADS if "encoder" in name else {})
    network = reference.network
    with torch.no_grad():
        inputs = network.mask_inputs(network.features(reference.image))
        found, states = network.predictor(*inputs), list(network.predictor.refine(*inputs))
        of_queries = [network.predictor.class_embed(queries) for queries in states[:-1]]
        outputs = [found.semantic_map(), found.classes, found.masks, *of_queries]
        if reference.spec.deep_supervision:
            outputs += network(reference.image, deep_supervision=True)[1:]
        assert_matches(outputs, reference.outputs, 2e-4)


def test_logits_of_the_mask_decoder_are_the_logarithm_of_its_map():
    reference = load_reference("transunet3d_decoder", "transunet", {})
    with torch.no_grad():
        logits = reference.network(reference.image)
    assert_matches([logits.exp()], reference.outputs[:1], 2e-4)


@pytest.mark.parametrize("name", [*ENCODER_ONLY, *WITH_MASKS])
def test_a_round_trip_is_exact(name, tmp_path):
    assert_round_trip(name, "transunet", HEADS, tmp_path)


@pytest.mark.parametrize(
    ("transformer", "parameters", "multiply_adds"),
    [
        ("encoder", 116_820_576, 483_890_233_344),
        ("encoder_decoder", 119_705_967, 557_615_090_688),
        ("decoder", 34_078_575, 550_822_218_752),
    ],
)
def test_the_published_size(transformer, parameters, multiply_adds):
    spec = describe_network("transunet", 1, 14, transformer=transformer)
    complexity = count_complexity(spec, (128, 128, 128))
    assert complexity.parameters == parameters
    # Ours counts the sum over the queries, and not a head at full resolution that is not used.
    assert complexity.multiply_adds == pytest.approx(multiply_adds, rel=2e-3)


CONTRACT = (
    contract.test_settings_come_back_from_plain_values,
    contract.test_heads_come_and_go_with_their_weights,
    contract.test_computing_again_changes_nothing,
    contract.test_half_precision_is_finite,
    contract.test_it_is_built_and_run_without_memory,
    pytest.param(contract.test_it_is_compiled_as_one_graph, marks=pytest.mark.slow),
)


@pytest.mark.parametrize("transformer", ["encoder_decoder", "decoder"])
@pytest.mark.parametrize("holds", CONTRACT)
def test_what_holds_for_every_network_holds_for_mask_decoders(holds, transformer, monkeypatch):
    settings = {**SMALL, "strides": TRIPLES, "transformer": transformer}
    monkeypatch.setitem(small_networks.SMALL, "transunet", Small((16, 32, 16), settings))
    holds("transunet")


@pytest.mark.parametrize("transformer", ["encoder", "encoder_decoder", "decoder"])
def test_gradients_reach_what_is_used(transformer):
    spec = small(transformer, deep_supervision=True)
    network = build_plain(spec)
    outputs = network(image(16, 32, 16), deep_supervision=True)
    assert [tuple(output.shape[2:]) for output in outputs] == [
        (16, 32, 16),
        (8, 16, 8),
        (4, 8, 4),
    ]
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    without = {name for name, weights in network.named_parameters() if weights.grad is None}
    assert without == ({"unused_head.weight"} if transformer != "encoder" else set())


def test_deep_supervision_is_on_where_it_was():
    on = {kind: small(kind).deep_supervision for kind in ("encoder", "encoder_decoder", "decoder")}
    assert on == {"encoder": True, "encoder_decoder": True, "decoder": False}


def test_heads_that_are_not_there_are_not_asked_for():
    network = build_plain(small(deep_supervision=False))
    with pytest.raises(SettingsError, match="no heads"):
        network(image(16, 32, 16), deep_supervision=True)


@pytest.mark.parametrize("offset", [0.0, -60.0])
def test_the_logarithm_of_a_map_is_exact_and_learns_where_no_mask_is(offset):
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(1, 4, 3, generator=generator)
    masks = (torch.randn(1, 4, 2, 2, 2, generator=generator) + offset).requires_grad_()
    logarithm = MaskPrediction(classes, masks).log_semantic_map()
    weights = classes.double().softmax(-1)[..., :-1]
    expected = torch.einsum("bqk,bqdhw->bkdhw", weights, masks.double().sigmoid()).log()
    torch.testing.assert_close(logarithm, expected.float(), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(logarithm[:, 0].sum(), masks)
    assert gradient.sum() > 1e-2 * masks[0, 0].numel()


def test_empty_masks_let_queries_look_everywhere():
    network = build_plain(small("decoder")).eval()
    with torch.no_grad():
        for layer in (network.predictor.mask_embed.layers[-1], network.linear_mask_features):
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        network.predictor.mask_embed.layers[-1].bias.fill_(-1.0)
        assert torch.isfinite(network(image(16, 32, 16))).all()


@pytest.mark.parametrize(
    ("asked", "spacing", "patch", "steps"),
    [
        ((128, 128, 128), (1.0, 1.0, 1.0), (128, 128, 128), 5),
        ((32, 64, 32), (1.0, 1.0, 1.0), (32, 64, 32), 3),
        ((48, 192, 192), (3.0, 0.8, 0.8), (48, 192, 192), 5),
        ((20, 50, 40), (1.0, 1.0, 1.0), (20, 56, 40), 3),
        ((2, 2, 2), (1.0, 1.0, 1.0), (8, 8, 8), 1),
    ],
)
def test_steps_follow_the_patch(asked, spacing, patch, steps):
    chosen = choose_network(ModelSettings(network="transunet")).planned(asked, spacing)
    assert chosen.family.fixed_patch(chosen.settings) == patch
    assert len(chosen.settings.strides) == steps
    assert chosen.family.patch_rule(chosen.settings).problem(patch) == ""


def test_what_was_said_is_not_planned():
    family = find_family("transunet")
    said = family.Settings(strides=TRIPLES)
    planned = family.planned(said, (60, 64, 64), (5.0, 1.0, 1.0))
    assert planned.strides == TRIPLES
    assert planned.patch_voxels == (64, 64, 64)
    assert family.planned(planned, (128, 128, 128), (1.0, 1.0, 1.0)) == planned


def test_a_patch_that_cannot_be_halved_as_planned_is_refused():
    chosen = choose_network(
        ModelSettings(network="transunet", transunet={"patch_voxels": [60, 64, 64]})
    )
    with pytest.raises(SettingsError, match="60 x 64 x 64 voxels cannot be halved") as error:
        chosen.planned((64, 64, 64))
    assert "Take 64 x 64 x 64" in error.value.remedy


def test_the_bottleneck_of_what_was_said_has_two_voxels():
    said = {"strides": [[2, 2, 2]] * 4}
    chosen = choose_network(ModelSettings(network="transunet", transunet=said))
    assert chosen.label == "transunet-strides222_222_222_222"
    settings = chosen.planned((16, 16, 16)).settings
    assert settings.patch_voxels == (16, 16, 32)
    assert chosen.family.patch_rule(settings).problem((16, 16, 32)) == ""


def test_spacings_that_allow_too_few_steps_are_refused():
    chosen = choose_network(
        ModelSettings(network="transunet", transunet={"transformer": "decoder"})
    )
    with pytest.raises(SettingsError, match="is halved 2 times; this TransUNet needs 3"):
        chosen.planned((32, 32, 32), (1.0, 20.0, 20.0))


def test_the_mask_decoder_alone_takes_any_patch():
    network = build_plain(small("decoder")).eval()
    with torch.no_grad():
        assert network(image(16, 8, 24)).shape == (1, 3, 16, 8, 24)
    with pytest.raises(SettingsError, match="divisible by 8"):
        network(image(16, 12, 24))


def test_the_vision_transformer_takes_its_patch_only():
    network = build_plain(small())
    with pytest.raises(SettingsError, match="takes 16 x 32 x 16 only"):
        network(image(16, 16, 32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vit_heads": 7}, "vit_width must be a multiple of vit_heads"),
        ({"mask_heads": 7}, "mask_width must be a multiple of mask_heads"),
        ({"mask_width": 100}, "multiple of 96"),
        ({"strides": [[2, 2, 2], [1, 1, 1]]}, "halves at least one axis"),
        ({"strides": [[2, 2, 2]], "transformer": "decoder"}, "needs 3 steps"),
        ({"strides": [[2, 2, 2]], "patch_voxels": [32, 32, 31]}, "must be multiples"),
        ({"strides": [[2, 2, 2]], "kernels": [[3, 3, 3]] * 3}, "one more than strides"),
        ({"kernels": [[3, 3, 3]] * 3}, "given with strides"),
        ({"transformer": "decoder", "patch_voxels": [32, 32, 32]}, "which is left out"),
        ({"transformer": "none"}, "encoder"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        choose_network(ModelSettings(network="transunet", transunet=settings))


@pytest.mark.parametrize("transformer", ["encoder", "encoder_decoder", "decoder"])
def test_the_network_is_read_off_the_shapes(transformer, tmp_path):
    spec = small(
        transformer, deep_supervision=True, kernels=((1, 3, 3), *((3, 3, 3) for _ in range(3)))
    )
    path = tmp_path / "theirs.pt"
    export_weights(path, Checkpoint(spec, build_plain(spec).state_dict()))
    attends = transformer != "decoder"
    said = {"vit_heads": 2, "patch_voxels": [16, 32, 16]} if attends else {}
    imported = import_weights(path, "transunet", said).network
    assert imported.deep_supervision
    told = ("transformer", "strides", "kernels", "base_channels", "most_channels")
    assert all(getattr(imported.settings, key) == getattr(spec.settings, key) for key in told)


def test_weights_of_other_settings_are_refused(tmp_path):
    spec = small(deep_supervision=True)
    path = tmp_path / "theirs.pt"
    export_weights(path, Checkpoint(spec, build_plain(spec).state_dict()))
    said = {"vit_heads": 2, "patch_voxels": [16, 32, 16]}
    with pytest.raises(CheckpointError, match="have vit_layers 1, not 2"):
        import_weights(path, "transunet", {**said, "vit_layers": 2})
    with pytest.raises(CheckpointError, match="16 tokens, which does not tell its shape"):
        import_weights(path, "transunet", {"vit_heads": 2})
    with pytest.raises(SettingsError, match="multiple of vit_heads"):
        import_weights(path, "transunet", {**said, "vit_heads": 3})
    torch.save({"stem.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not weights of transunet as published"):
        import_weights(path, "transunet")


def test_what_the_published_code_cannot_build_is_not_exported(tmp_path):
    spec = small(deep_supervision=False)
    with pytest.raises(CheckpointError, match="without deep supervision"):
        export_weights(tmp_path / "w.pt", Checkpoint(spec, build_plain(spec).state_dict()))
