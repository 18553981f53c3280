"""Weight gradients of depthwise convolutions of images shorter than their kernel, on CPUs.

oneDNN's are NaN, any number or a crash on processors with AVX-512: memory that was used before is
filled with NaN here, which taps that are left unwritten then show.
"""

import itertools

import pytest
import torch
from torch.nn import functional as F

from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.blocks import (
    DepthwiseConvolution,
    TransposedDepthwiseConvolution,
)
from mednext_cli.networks.mednext.kernels.convolution import depthwise_conv3d
from tests.networks.made import build, mednext

_CHANNELS = 16
_SHAPES = [(1, 1, 1), (2, 2, 1), (3, 5, 4), (1, 9, 8), (8, 1, 9), (9, 8, 1), (4, 9, 8), (5, 6, 7)]
_STEPS = {"same": (1, False), "strided": (2, False), "transposed": (2, True)}
_PRECISIONS = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def _by_module(x, weight, stride, transposed):
    kind = TransposedDepthwiseConvolution if transposed else DepthwiseConvolution
    kernel = weight.shape[-1]
    layer = kind(
        _CHANNELS, _CHANNELS, kernel, stride, kernel // 2, groups=_CHANNELS, bias=False
    ).to(weight.dtype)
    layer.weight = weight
    with cpu.left_to_pytorch():
        return layer(x)


def _arranged(x, weight, stride, transposed):
    reduced = x.dtype is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        if transposed:
            return cpu.transposed_depthwise(x, weight, None)
        return cpu.depthwise(x, weight, None, stride)


def _by_function(x, weight, stride, transposed):
    return depthwise_conv3d(x, weight, None, stride, transposed)


def _exact(x, weight, stride, transposed):
    convolve = F.conv_transpose3d if transposed else F.conv3d
    padding = weight.shape[-1] // 2
    return convolve(x, weight, None, stride, padding, groups=_CHANNELS)


def _leave_used_memory():
    for size in (2**8, 2**12, 2**16):
        for _ in range(8):
            torch.full((size,), float("nan"))


@pytest.mark.parametrize("way", [_by_module, _arranged, _by_function])
@pytest.mark.parametrize("step", _STEPS.values(), ids=_STEPS)
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("precision", _PRECISIONS, ids=str)
def test_results_and_gradients(precision, kernel, step, way):
    torch.manual_seed(0)
    for shape, format_ in itertools.product(
        _SHAPES, (torch.channels_last_3d, torch.contiguous_format)
    ):
        x = torch.randn(2, _CHANNELS, *shape).to(precision).to(memory_format=format_)
        taps = torch.randn(_CHANNELS, 1, kernel, kernel, kernel).to(precision)
        given = [x.requires_grad_(), torch.nn.Parameter(taps)]
        exact = [one.detach().double().requires_grad_() for one in given]
        _leave_used_memory()
        result, expected = way(*given, *step), _exact(*exact, *step)
        assert result.shape == expected.shape
        formats = (torch.contiguous_format, torch.channels_last_3d)
        assert any(result.is_contiguous(memory_format=one) for one in formats)
        slope = torch.randn(expected.shape).to(precision)
        result.backward(slope)
        expected.backward(slope.double())
        found = [result, *(one.grad for one in given)]
        known = [expected, *(one.grad for one in exact)]
        for one, other in zip(found, known, strict=True):
            deviation = (one.double() - other).norm() / other.norm()
            assert deviation < _PRECISIONS[precision], shape


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_network_by_pytorchs_own_operators_at_its_smallest_patch(kernel):
    """Its deepest images are of 1 x 2 x 1 voxels."""
    torch.manual_seed(0)
    network = build(mednext("S", kernel, 1, 2, 16, deep_supervision=False))
    for _ in range(3):
        _leave_used_memory()
        with torch.autocast("cpu", torch.bfloat16), cpu.left_to_pytorch():
            network(torch.randn(1, 1, 16, 32, 16)).float().square().mean().backward()
    for name, weight in network.named_parameters():
        if weight.grad is not None:
            assert weight.grad.isfinite().all(), name


@pytest.mark.parametrize("way", [_by_module, _by_function])
@pytest.mark.parametrize("step", _STEPS.values(), ids=_STEPS)
def test_images_without_voxels_are_refused_by_pytorch(step, way):
    given = (
        torch.zeros(1, _CHANNELS, 0, 3, 3),
        torch.nn.Parameter(torch.ones(_CHANNELS, 1, 3, 3, 3)),
    )
    with torch.no_grad(), pytest.raises(RuntimeError):
        way(*given, *step)
    with pytest.raises(RuntimeError):
        way(*given, *step)
