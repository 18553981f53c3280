"""Blocks under autocast to bfloat16 on a CPU: as right as PyTorch's own operators are in it.

Both are compared with float64; what is allowed is twice PyTorch's own deviation, as of the kernels
for GPUs. Products are made by instructions for bfloat16 where a processor has them: tests pretend
that, then PyTorch computes them without.
"""

import copy

import pytest
import torch

from mednext_cli.networks.mednext import blocks, cpu
from mednext_cli.networks.mednext.native import library as native
from mednext_cli.networks.mednext.native.layers import Depthwise
from mednext_cli.networks.mednext.native.library import library_for
from mednext_cli.networks.mednext.native.operators import convolve
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.scaling.dry_run import DryNetwork
from tests.networks.made import build, mednext

_FACTOR = 2.0
_PATCH = (48, 48, 48)  # norms of two voxels would magnify rounding to any size
_FLOOR = 2.0**-9  # half a rounding: sums may have fewer of them than PyTorch's by chance
_C = 16
_BLOCKS = {
    "block": (blocks.MedNeXtBlock, _C, _C, (7, 9, 8)),
    "wider": (blocks.MedNeXtBlock, _C, 2 * _C, (3, 4, 5)),
    "down": (blocks.DownBlock, _C, 2 * _C, (9, 8, 7)),
    "up": (blocks.UpBlock, _C, _C // 2, (3, 5, 4)),
    "odd": (blocks.MedNeXtBlock, 5, 5, (6, 5, 7)),
}
needs_kernels = pytest.mark.skipif(not native.libraries(), reason="no kernels were compiled")


@pytest.fixture
def way(request, monkeypatch):
    """The way that a test names: with or without compiled kernels, and instructions."""
    kernels, instructions = request.param
    if not kernels:
        monkeypatch.setattr(blocks, "library_of", lambda *_: None)
    elif not native.libraries():
        pytest.skip("no kernels were compiled")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


_NAMES = {
    (True, False): "kernels",
    (True, True): "kernels, instructions",
    (False, False): "PyTorch",
    (False, True): "PyTorch, instructions",
}


def _in_ways(*ways):
    """Run a test in these ways, or in all."""
    return pytest.mark.parametrize("way", ways or [*_NAMES], ids=_NAMES.get, indirect=True)


def _block(kind, kernel, **settings):
    made, channels, out, _ = _BLOCKS[kind]
    settings = {"residual": kind != "wider", **settings}
    if not settings["residual"]:
        settings["resampling"] = "inverted"
    block = made(MedNeXtSettings(**settings), channels, out, 2, kernel, grn=False)
    for name, weights in block.named_parameters():
        if name.startswith("norm"):
            weights.data.normal_(0.5, 0.5)
    return block


def _quantities(module, image, reduced, whole):
    """Output, and gradients: of a layer those of weight and bias together.

    A bias before a norm has no gradient but rounding, which only its weight's gives a measure.
    """
    image = image.detach().requires_grad_()
    module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        output = module(image)
    draw = torch.Generator().manual_seed(1)
    slope = torch.randn(output.shape, generator=draw).bfloat16().to(output.dtype)
    output.backward(slope)
    found = {"output": [output.detach()], "image": [image.grad]}
    for name, weights in module.named_parameters():
        if weights.grad is not None:
            assert weights.grad.dtype is weights.dtype
            layer = "weights" if whole else name.rpartition(".")[0]
            found.setdefault(layer, []).append(weights.grad.clone())
    return {
        name: torch.cat([one.flatten().double() for one in parts]) for name, parts in found.items()
    }


def _assert_as_right_as_pytorch(module, image, monkeypatch, whole=False):
    """Each layer's gradient; or a whole network's, whose smallest layers are left to chance."""
    ours = _quantities(module, image, True, whole)
    exact = _quantities(copy.deepcopy(module).double(), image.double(), False, whole)
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "is_arranged", lambda _: False)
        stock = _quantities(module, image, True, whole)
    for name, expected in exact.items():
        deviation, own = (
            ((one[name] - expected).norm() / expected.norm()).item() for one in (ours, stock)
        )
        assert deviation <= max(_FACTOR * own, _FLOOR), (name, deviation, own)


def _image(channels, shape, mean=0.0):
    image = (torch.randn(2, channels, *shape) + mean).bfloat16().float()
    return image.to(memory_format=torch.channels_last_3d)


@_in_ways()
@pytest.mark.parametrize(
    ("kind", "kernel", "mean"),
    [
        ("block", 3, 0),
        ("block", 5, 30),
        ("wider", 7, 0),
        ("down", 3, 30),
        ("down", 5, 0),
        ("up", 3, 0),
        ("up", 7, 30),
        ("odd", 3, 0),
    ],
)
def test_output_and_gradients_of_blocks(kind, kernel, mean, way, monkeypatch):
    torch.manual_seed(0)
    image = _image(_BLOCKS[kind][1], _BLOCKS[kind][3], mean)
    _assert_as_right_as_pytorch(_block(kind, kernel), image, monkeypatch)


@_in_ways()
def test_the_bias_before_the_norm_gets_no_gradient_but_chance(way):
    """A part of the image's gradient that is the same in every voxel would add up."""
    torch.manual_seed(0)
    block = _block("block", 3)
    image = _image(_C, (16, 32, 16)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = block(image)
    output.backward(torch.randn(output.shape).bfloat16())
    typical = image.grad.square().mean((0, 2, 3, 4)).sqrt()
    chance = typical * 2.0**-9 * (image.numel() / _C) ** 0.5
    assert (block.depthwise.bias.grad.abs() < 4 * chance).all()


@_in_ways((True, True))
def test_pieces_change_rounding_alone(way, monkeypatch):
    """Of rows, whose last piece is no multiple of what oneDNN likes."""
    torch.manual_seed(0)
    monkeypatch.setattr("mednext_cli.networks.mednext.native.bfloat16._PIECE", 1)
    _assert_as_right_as_pytorch(_block("block", 3), _image(_C, (5, 5, 5)), monkeypatch)


@_in_ways((False, False))
@pytest.mark.parametrize("settings", [{"grn": True}, {"norm": "layer"}, {"resampling": "plain"}])
def test_networks_with_other_layers(settings, way, monkeypatch):
    torch.manual_seed(0)
    network = build(mednext("S", 3, 1, 2, 4, deep_supervision=False, **settings))
    image = torch.randn(1, 1, *_PATCH).bfloat16().float()
    _assert_as_right_as_pytorch(network, image, monkeypatch, whole=True)


@_in_ways((True, False), (False, True))
@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_whole_networks(checkpointing, way, monkeypatch):
    torch.manual_seed(0)
    network = build(mednext("S", 3, 1, 2, 8, deep_supervision=False))
    network.checkpointing = checkpointing
    image = torch.randn(1, 1, *_PATCH).bfloat16().float()
    _assert_as_right_as_pytorch(network, image, monkeypatch, whole=True)


@needs_kernels
@pytest.mark.parametrize(("kernel", "step"), [(3, (1, False)), (5, (2, False)), (7, (2, True))])
def test_statistics_are_of_the_rounded_values_and_exact(kernel, step):
    torch.manual_seed(0)
    weight = torch.randn(_C, 1, kernel, kernel, kernel)
    x = _image(_C, (5, 6, 27), mean=100.0).bfloat16()
    mixed, mean, variance = convolve(library_for(_C), x, Depthwise(weight, torch.randn(_C), *step))
    assert mixed.dtype is torch.bfloat16
    exact = mixed.double()
    scale, spread = exact.abs().max(), exact.var((2, 3, 4), unbiased=False)
    assert (mean - exact.mean((2, 3, 4))).abs().max() < 1e-6 * scale
    assert (variance - spread).abs().max() < 1e-5 * spread.max() + 1e-10 * scale**2


@needs_kernels
def test_values_are_rounded_as_pytorch_rounds_them():
    """Halfway to the even one; beyond the largest to infinity; NaN, whatever its bits, stays.

    What is too small for a normal number is rounded so, or 0 as AVX512-BF16 makes it.
    """
    bits = torch.arange(-(2**15), 2**15).to(torch.int16)
    x = bits.view(torch.bfloat16).reshape(-1, _C, 1, 1, 1)  # nothing beside anything
    for factor in (1.0, 1 + 2.0**-8, 1.5, 1 / 3):
        taps = torch.full((_C, 1, 3, 3, 3), factor)
        result, _, _ = convolve(library_for(_C), x, Depthwise(taps, torch.zeros(_C)))
        expected = (x.float() * factor).bfloat16()
        small = (expected.abs() <= torch.finfo(torch.bfloat16).tiny) & (result == 0)
        small &= native.rounds_to_bfloat16()
        torch.testing.assert_close(result[~small], expected[~small], rtol=0, atol=0, equal_nan=True)


@_in_ways()
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(value, way):
    torch.manual_seed(0)
    block, image = _block("block", 3), _image(_C, (5, 5, 5))
    image[1, 2, 2, 2, 2] = value
    image.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = block(image)
    assert output[1].isnan().all()
    assert output[0].isfinite().all()
    output.float().sum().backward()
    assert block.expand.weight.grad.isnan().all()


@_in_ways((True, False), (False, True))
def test_without_gradients_the_output_is_the_same(way):
    torch.manual_seed(0)
    network = build(mednext("S", 3, 1, 2, 8)).eval()
    image = torch.randn(1, 1, 16, 32, 16)
    with torch.autocast("cpu", torch.bfloat16):
        trained = network(image)
        with torch.inference_mode():
            assert torch.equal(network(image), trained)
    assert trained.dtype is torch.bfloat16


@pytest.mark.slow
@_in_ways((True, False), (False, True))
def test_weights_and_moments_stay_float32_and_training_gets_as_far(way):
    """The loss after as many steps lies within what seeds change of float32's."""

    def train(seed, reduced):
        torch.manual_seed(seed)
        network = build(mednext("S", 3, 1, 2, 4, deep_supervision=False))
        optimiser = torch.optim.AdamW(network.parameters(), 2e-3, fused=True)
        labels = torch.zeros(1, 16, 32, 16, dtype=torch.long)
        labels[:, 4:12, 8:24, 4:12] = 1
        losses = []
        for _ in range(12):
            image = labels[:, None] + 0.7 * torch.randn(1, 1, *labels.shape[1:])
            with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
                logits = network(image)
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        kept = [*network.parameters(), *(one["exp_avg"] for one in optimiser.state.values())]
        assert {one.dtype for one in kept} == {torch.float32}
        return losses

    full, half = ([train(seed, reduced) for seed in range(2)] for reduced in (False, True))
    for losses in (*full, *half):
        assert losses[-1] < 0.7 * losses[0]
    seeds = abs(full[0][-1] - full[1][-1])
    for one, other in zip(full, half, strict=True):
        assert abs(one[-1] - other[-1]) < seeds / 20


def test_estimates_for_a_cpu_know_it(monkeypatch):
    if not native.libraries():
        pytest.skip("no kernels were compiled")
    spec = mednext("S", 3, 1, 3, 32)
    ours = DryNetwork(spec, "cpu").train((32, 32, 32), 1, torch.bfloat16)
    monkeypatch.setattr(blocks, "library_of", lambda *_: None)
    without = DryNetwork(spec, "cpu").train((32, 32, 32), 1, torch.bfloat16)
    assert ours.work == without.work
    assert ours.peak_bytes < 0.6 * without.peak_bytes


@needs_kernels
def test_no_image_is_ever_whole_in_float32():
    network = DryNetwork(mednext("S", 3, 1, 3, 16), "cpu")
    narrow, wide = (
        network.train((64, 64, 64), 1, kind) for kind in (torch.bfloat16, torch.float32)
    )
    assert narrow.peak_bytes < 0.56 * wide.peak_bytes
