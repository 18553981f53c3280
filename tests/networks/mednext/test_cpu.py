"""The arithmetic arranged for CPUs is PyTorch's own."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.blocks import (
    DepthwiseConvolution,
    SpatialNorm,
    TransposedDepthwiseConvolution,
)
from mednext_cli.networks.mednext.cpu import normalisation
from tests.networks.made import build, mednext

_LAYOUTS = st.sampled_from([torch.contiguous_format, torch.channels_last_3d])


def _results(layer, x, native):
    """Output and all gradients, of the layer here or of its parent, which is PyTorch's."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    layer.zero_grad()
    y = type(layer).__mro__[1].forward(layer, x) if native else layer(x)
    torch.manual_seed(1)
    y.backward(torch.randn(y.shape, dtype=y.dtype))
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]


def _assert_same(layer, x):
    for here, there in zip(_results(layer, x, False), _results(layer, x, True), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(
    kernel=st.sampled_from([3, 5, 7, 9]),
    stride=st.sampled_from([1, 2]),
    shape=st.tuples(*[st.sampled_from([2, 4, 6, 10])] * 3),
    layout=_LAYOUTS,
    bias=st.booleans(),
)
def test_depthwise_convolution(kernel, stride, shape, layout, bias):
    x = torch.randn(2, 3, *shape, dtype=torch.float64).contiguous(memory_format=layout)
    layer = DepthwiseConvolution(
        3, 3, kernel, stride=stride, padding=kernel // 2, groups=3, bias=bias
    )
    _assert_same(layer.double(), x)


@settings(max_examples=12, deadline=None)
@given(
    kernel=st.sampled_from([3, 5, 7]),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    layout=_LAYOUTS,
)
def test_transposed_depthwise_convolution(kernel, shape, layout):
    x = torch.randn(2, 3, *shape, dtype=torch.float64).contiguous(memory_format=layout)
    layer = TransposedDepthwiseConvolution(3, 3, kernel, stride=2, padding=kernel // 2, groups=3)
    _assert_same(layer.double(), x)


@settings(max_examples=12, deadline=None)
@given(shape=st.tuples(*[st.integers(2, 5)] * 3), layout=_LAYOUTS)
def test_spatial_norm(shape, layout):
    x = torch.randn(2, 3, *shape, dtype=torch.float64).contiguous(memory_format=layout)
    layer = SpatialNorm(3).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    _assert_same(layer, x)


def test_spatial_norm_is_exact_far_from_zero():
    x = torch.randn(1, 2, 16, 16, 16).contiguous(memory_format=torch.channels_last_3d) + 1000
    expected = torch.nn.functional.group_norm(x.double().contiguous(), 2).float()
    with torch.no_grad():
        assert (SpatialNorm(2)(x) - expected).abs().max() < 1e-3


def test_derivatives_are_those_of_finite_differences():
    x = torch.randn(1, 2, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    for layer in (
        DepthwiseConvolution(2, 2, 5, padding=2, groups=2),
        TransposedDepthwiseConvolution(2, 2, 3, stride=2, padding=1, groups=2),
        SpatialNorm(2),
    ):
        assert torch.autograd.gradcheck(layer.double(), (x,))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_frozen_parameters_get_no_gradient(frozen):
    layer = DepthwiseConvolution(2, 2, 3, padding=1, groups=2)
    getattr(layer, frozen).requires_grad_(False)
    layer(torch.randn(1, 2, 4, 4, 4)).sum().backward()
    assert getattr(layer, frozen).grad is None
    assert layer.weight.grad is not None or layer.bias.grad is not None


@pytest.mark.slow
def test_a_whole_networks_gradients_are_pytorchs(monkeypatch):
    torch.manual_seed(0)
    network = build(mednext("B", 5, 1, 2, 4)).double()
    native, image = copy.deepcopy(network), torch.randn(2, 1, 16, 32, 16, dtype=torch.float64)
    network(image).square().mean().backward()
    monkeypatch.setattr(cpu, "is_arranged", lambda x: False)
    native(image).square().mean().backward()
    for (name, one), other in zip(network.named_parameters(), native.parameters(), strict=True):
        if one.grad is not None:
            scale = other.grad.abs().max()
            assert (one.grad - other.grad).abs().max() <= 1e-8 * max(scale, 1e-6), name


def test_a_whole_networks_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    network = build(mednext("S", 3, 1, 2, 2)).double()
    image = torch.randn(1, 1, 16, 16, 32, dtype=torch.float64)
    network(image).square().mean().backward()
    parameters = [one for one in network.parameters() if one.grad is not None]
    directions = [torch.randn_like(one) for one in parameters]
    slope = sum((one.grad * way).sum() for one, way in zip(parameters, directions, strict=True))
    step, losses = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            for one, way in zip(parameters, directions, strict=True):
                one.add_(way, alpha=sign * step)
            losses.append(network(image).square().mean())
            for one, way in zip(parameters, directions, strict=True):
                one.sub_(way, alpha=sign * step)
    torch.testing.assert_close((losses[0] - losses[1]) / (2 * step), slope, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("voxels", [1, 16, 50, 1 << 18])
@pytest.mark.parametrize(("size", "kernel"), [("S", 3), ("B", 5)])
def test_without_gradients_a_network_gives_the_same_in_pieces_of_any_size(
    monkeypatch, size, kernel, voxels
):
    torch.manual_seed(0)
    network = build(mednext(size, kernel, 1, 2, 4)).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    image = torch.randn(2, 1, 16, 48, 16, dtype=torch.float64)
    expected, kept = network(image).detach(), image.clone()
    monkeypatch.setattr(normalisation, "_PIECE", voxels)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(image, kept)


def test_features_far_from_zero_keep_their_digits_in_pieces():
    x = torch.randn(1, 2, 16, 16, 17).contiguous(memory_format=torch.channels_last_3d) + 1000
    weights = [torch.randn(4, 2, 1, 1, 1), torch.randn(4), torch.randn(2, 4, 1, 1, 1)]
    norm = torch.nn.functional.group_norm(x.double().contiguous(), 2)
    inner = torch.nn.functional.conv3d(norm, weights[0].double(), weights[1].double())
    expected = torch.nn.functional.conv3d(
        torch.nn.functional.gelu(inner), weights[2].double()
    ).float()
    made = cpu.inverted_bottleneck(
        x,
        (torch.ones(2), torch.zeros(2), 1e-5),
        (weights[0], weights[1]),
        (weights[2], torch.zeros(2)),
        None,
    )
    assert (made - expected).abs().max() < 5e-4


def test_features_stay_channels_last():
    network = build(mednext("S", 3, 1, 2, 4))
    layouts = []
    for block in (network.encoder[0].blocks[1], network.decoder[0].up, network.bottleneck[0]):
        block.register_forward_hook(
            lambda _module, _inputs, output: layouts.append(
                output.is_contiguous(memory_format=torch.channels_last_3d)
            )
        )
    network(torch.randn(2, 1, 16, 16, 32))
    assert layouts == [True] * 3


def test_a_network_runs_under_autocast():
    network = build(mednext("S", 3, 1, 2, 4))
    with torch.autocast("cpu", torch.bfloat16):
        output = network(torch.randn(1, 1, 16, 16, 32))
    assert output.dtype is torch.bfloat16
    assert output.isfinite().all()


def test_what_hooks_keep_is_not_overwritten():
    network, kept = build(mednext("S", 3, 1, 2, 4)), []
    network.encoder[0].blocks[0].depthwise.register_forward_hook(
        lambda _module, _inputs, output: kept.append((output, output.clone()))
    )
    with torch.inference_mode():
        network(torch.randn(1, 1, 16, 32, 16))
    assert all(torch.equal(one, copied) for one, copied in kept)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("layout", ["contiguous", "cropped", "flipped", "channels last"])
@pytest.mark.parametrize("reduced", [False, True])
def test_a_pointwise_result_has_its_channels_last_whatever_the_image(channels, layout, reduced):
    """As exact as of an image whose channels are last."""
    torch.manual_seed(0)
    whole, bias = torch.randn(1, channels, 20, 9, 18), torch.randn(5)
    weight = torch.randn(5, channels, 1, 1, 1)
    image = {
        "contiguous": whole,
        "cropped": whole[..., 1:18, 1:7, 1:6],
        "flipped": whole.movedim(2, 4),
        "channels last": cpu.channels_last(whole),
    }[layout]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        found = cpu.pointwise(image, weight, bias)
        alike = cpu.pointwise(cpu.channels_last(image.clone()), weight, bias)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    exact = torch.nn.functional.conv3d(image.double(), weight.double(), bias.double())
    error, usual = ((one.double() - exact).abs().max() for one in (found, alike))
    assert error <= 1.1 * usual + 1e-6
    assert error < (0.1 if reduced else 1e-5)
