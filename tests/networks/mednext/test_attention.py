"""Attention in the place of the depthwise convolution: its formula, its weights, its ways out."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.mednext.attention import AttentionBlock, WindowAttention, WindowBias
from mednext_cli.networks.mednext.mixing import matched_width
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.scaling.complexity import count_complexity
from tests.networks.made import build, mednext
from tests.networks.mednext.test_windows import seen

ATTENTION, BIAS = {"mixer": "window_attention"}, {"mixer": "bias"}
# What no window of 4 divides, what one covers, and slices.
MAPS = [(4, 6, 4), (2, 3, 2), (5, 8, 1), (9, 6)]


def _settings(dimensions=3, **settings):
    return MedNeXtSettings(kernel=5, base_channels=8, dimensions=dimensions, **settings)


def _mixer(shifted=False, **settings):
    torch.manual_seed(1)
    chosen = _settings(**settings)
    mixer = (
        WindowBias(chosen, 8) if chosen.mixer == "bias" else WindowAttention(chosen, 8, kernel=5)
    )
    mixer.shifted = shifted
    nn.init.normal_(mixer.table)
    return mixer.double()


def _bias(mixer, sizes, shifted):
    """(heads, voxels, voxels) of a whole map: the table's, where a voxel sees the other."""
    places = torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes))
    offsets = places[:, None] - places[None]
    near = (offsets.abs() < 4).all(-1)
    steps = torch.tensor([7**power for power in reversed(range(len(sizes)))])
    rows = (((offsets + 3) * steps).sum(-1) * near).long()
    return mixer.table[:, rows].masked_fill(~seen(sizes, 4, shifted), -math.inf)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("sizes", MAPS)
def test_attention_is_its_formula_over_the_whole_map(sizes, shifted):
    mixer, x = _mixer(shifted, **ATTENTION, dimensions=len(sizes)), torch.randn(2, 8, *sizes)
    x = x.double()
    parts = mixer.qkv(x).flatten(2).unflatten(1, (3, 2, -1)).movedim(-1, -2)  # B 3 h voxels A / h
    queries, keys, values = parts.unbind(1)
    cosines = nn.functional.cosine_similarity(queries[:, :, :, None], keys[:, :, None], dim=-1)
    weights = (10 * cosines + _bias(mixer, sizes, shifted)).softmax(-1)
    mixed = (weights @ values).movedim(-1, -2).flatten(1, 2).unflatten(-1, sizes)
    torch.testing.assert_close(mixer(x), mixer.out(mixed))


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("sizes", MAPS)
def test_biases_alone_are_the_softmax_of_the_table(sizes, shifted):
    mixer, x = _mixer(shifted, **BIAS, dimensions=len(sizes)), torch.randn(2, 8, *sizes).double()
    weights = _bias(mixer, sizes, shifted).softmax(-1)
    expected = torch.einsum("cij,bcj->bci", weights, x.flatten(2)).unflatten(-1, sizes)
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize("settings", [ATTENTION, BIAS])
@pytest.mark.parametrize("shifted", [False, True])
def test_a_change_is_seen_in_its_own_window_and_nowhere_else(settings, shifted):
    sizes = (4, 6, 4)
    mixer, x = _mixer(shifted, **settings), torch.randn(1, 8, *sizes).double()
    before, visible = mixer(x), seen(sizes, 4, shifted).unflatten(0, sizes).unflatten(-1, sizes)
    for voxel in ((0, 0, 0), (1, 1, 3), (2, 2, 0), (3, 5, 3)):
        changed = x.clone()
        changed[0, :, *voxel] += 1
        differs = (mixer(changed) != before).any(1)[0]
        assert torch.equal(differs, visible[(..., *voxel)])


@pytest.mark.parametrize(("kernel", "expected"), [(3, (4, 5, 6, 6, 7)), (5, (26, 28, 30, 30, 30))])
def test_the_inner_width_is_matched_to_the_kernel(kernel, expected):
    heads = MedNeXtSettings(kernel=kernel, **ATTENTION).heads_for(kernel)
    widths = [32 * 2**level for level in range(5)]
    assert tuple(matched_width(c, kernel, 4, heads, 3) for c in widths) == expected


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kernel", [3, 5])
def test_weights_are_those_of_the_formula(kernel, dimensions):
    settings = MedNeXtSettings(kernel=kernel, dimensions=dimensions, **ATTENTION)
    with torch.device("meta"):
        mixer = WindowAttention(settings, 64, kernel)
        bias = WindowBias(settings, 64)
    width, heads, rows = settings.inner_width(64, kernel), 1 if kernel == 3 else 2, 7**dimensions
    counted = sum(weights.numel() for weights in mixer.parameters())
    assert counted == 4 * 64 * width + 3 * width + 64 + heads * (rows + 1)
    assert counted == pytest.approx(64 * kernel**dimensions + 64, rel=0.15)
    assert sum(weights.numel() for weights in bias.parameters()) == 64 * rows


@pytest.mark.parametrize(("size", "kernel"), [("S", 3), ("S", 5), ("L", 3)])
def test_networks_have_nearly_the_same_number_of_weights(size, kernel):
    plain, attention = (
        sum(weights.numel() for weights in _without_memory(mednext(size, kernel, **settings)))
        for settings in ({}, ATTENTION)
    )
    assert attention == pytest.approx(plain, rel=2e-3)


def _without_memory(spec):
    with torch.device("meta"):
        return build(spec).parameters()


def test_multiply_adds_are_those_of_the_formula():
    with torch.device("meta"):
        mixer, x = WindowAttention(MedNeXtSettings(**ATTENTION), 32, 3), torch.empty(1, 32, 8, 8, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        mixer(x)
    assert counter.get_total_flops() // 2 == 8**3 * (4 * 32 * 4 + 2 * 4**3 * 4)


@pytest.mark.parametrize("settings", [ATTENTION, BIAS, {**BIAS, "norm": "layer", "grn": True}])
@pytest.mark.parametrize("patch", [(32, 48, 32), (16, 16, 80)])
def test_any_patch_goes_through(settings, patch):
    network = build(mednext("S", 5, 1, 2, 8, **settings, deep_supervision=False))
    with torch.no_grad():
        assert network(torch.randn(1, 1, *patch)).isfinite().all()


@pytest.mark.parametrize("settings", [ATTENTION, BIAS])
def test_every_other_block_is_shifted(settings):
    network = build(mednext("S", 5, 1, 2, 8, **settings))
    for stage in (*(level.blocks for level in network.encoder), network.bottleneck):
        assert [block.attention.shifted for block in stage] == [False, True]


def test_resampling_blocks_keep_their_convolutions():
    names = build(mednext("S", 5, 1, 2, 8, **ATTENTION)).state_dict().keys()
    convolved = [name for name in names if name.endswith("depthwise.weight")]
    assert len(convolved) == 8
    assert all(".down." in name or ".up." in name for name in convolved)


def test_blocks_with_attention_take_pytorchs_operators_whatever_is_said():
    block = AttentionBlock(_settings(**ATTENTION), 8, 2, 5, False, True)
    block.operators = "fused"
    assert block(torch.randn(1, 8, 4, 4, 4)).isfinite().all()


@pytest.mark.parametrize("settings", [ATTENTION, BIAS])
def test_more_windows_than_a_launch_takes_are_the_same(settings, monkeypatch):
    mixer, x = _mixer(True, **settings), torch.randn(1, 8, 8, 6, 8).double()
    expected = mixer(x)
    monkeypatch.setattr("mednext_cli.networks.mednext.attention._LAUNCH", 3)
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize("settings", [ATTENTION, BIAS])
def test_half_precision_is_near(settings):
    mixer, x = _mixer(True, **settings).float(), torch.randn(1, 8, 4, 6, 4)
    half = copy.deepcopy(mixer).half()
    torch.testing.assert_close(half(x.half()).float(), mixer(x), rtol=0.02, atol=0.02)
    assert half(torch.zeros_like(x).half()).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"window": 4}, "another mixer than depthwise"),
        ({"heads": 1}, "another mixer than depthwise"),
        ({**BIAS, "heads": 2}, "bias has one a channel"),
        ({**BIAS, "resampling": "plain", "kernel": 5}, "no kernel is used"),
        ({**ATTENTION, "base_channels": 8}, "take a smaller window"),
        ({**ATTENTION, "window": 1}, "greater than or equal to 2"),
        ({**ATTENTION, "window": True}, "valid integer"),
        ({"mixer": "convolution"}, "'depthwise', 'window_attention' or 'bias'"),
    ],
)
def test_mixers_that_cannot_be_are_refused(settings, says):
    with pytest.raises(SettingsError, match=says):
        mednext(**{"kernel": 3, **settings})


def test_equal_mixers_have_equal_settings():
    assert MedNeXtSettings(**ATTENTION) == MedNeXtSettings(**ATTENTION, window=4, heads=1)
    sides = {"encoder_kernel": 3, "decoder_kernel": 5}
    assert MedNeXtSettings(**ATTENTION, **sides, heads=2) != MedNeXtSettings(**ATTENTION, **sides)


def test_published_weights_cannot_be_written(tmp_path, capsys):
    spec = mednext("S", 5, 1, 2, 8, **ATTENTION)
    save_checkpoint(tmp_path / "a.pt", Checkpoint(spec, build(spec).state_dict()))
    command = ["weights", "export", str(tmp_path / "a.pt"), "--out", str(tmp_path / "b.npz")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "the published code has no network with mixer = window_attention" in said
    assert said.count("\n") == 1


def test_the_cost_of_a_network_is_told_without_memory():
    plain, attention = (
        count_complexity(mednext("S", 3, 1, 3, **settings), (128, 128, 128)).multiply_adds
        for settings in ({}, ATTENTION)
    )
    assert 1.005 < attention / plain < 1.02


def _block(settings):
    torch.manual_seed(2)
    block = AttentionBlock(_settings(**settings), 8, 2, 5, False, True).eval()
    return block, torch.randn(1, 8, 4, 6, 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporters, about what they call in PyTorch
@pytest.mark.parametrize("settings", [ATTENTION, BIAS])
def test_openvino_computes_the_same(settings):
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    block, x = _block(settings)
    with torch.inference_mode():
        converted = openvino.convert_model(block, example_input=x, input=[list(x.shape)])
        expected = block(x)
    compiled = openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = torch.from_numpy(compiled(x.numpy())[0].copy())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporters, about what they call in PyTorch
@pytest.mark.parametrize("settings", [ATTENTION, BIAS])
def test_onnx_computes_the_same(settings):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from onnx.reference import ReferenceEvaluator

    block, x = _block(settings)
    program = torch.onnx.export(block, (x,), dynamo=True, opset_version=21, verbose=False)
    model = onnx.load_from_string(program.model_proto.SerializeToString())
    found = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), block(x), rtol=1e-5, atol=1e-5)
