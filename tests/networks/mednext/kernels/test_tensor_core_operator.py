"""The tensor-core operator, its kernels lane by lane on the CPU, against PyTorch's convolution."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from mednext_cli.networks.mednext.kernels import depthwise as triton_operator
from mednext_cli.networks.mednext.kernels.tensor_cores import availability, driver
from mednext_cli.networks.mednext.kernels.tensor_cores.operator import (
    depthwise,
    depthwise_tensor_cores,
)
from tests.networks.mednext.kernels.emulation import kernels_of

_SLOW = pytest.mark.slow
_BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def emulated(monkeypatch):
    """Kernels that were launched, on a CPU that is said to have tensor cores."""
    launched = []

    def kernels_on(device, variant):
        launched.append(variant)
        return kernels_of(variant)

    monkeypatch.setattr(driver, "kernels_on", kernels_on)
    monkeypatch.setattr(availability, "can_run", lambda device: True)
    return launched


def _distance(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def _tensors(shape, kernel=5, offset=0.0):
    torch.manual_seed(0)
    x = (torch.randn(shape) + offset).to(_BF16)
    weight = torch.randn(shape[1], 1, kernel, kernel, kernel).to(_BF16).float()
    return x, weight, torch.randn(shape[1])


def _gradients(run, given, slope):
    given = [one.detach().clone().requires_grad_() for one in given]
    result = run(*given)
    result.backward(slope.to(result.dtype))
    return [result.detach(), *(one.grad for one in given)]


def _stock(x, weight, bias, stride=1, transposed=False):
    convolve = F.conv_transpose3d if transposed else F.conv3d
    return convolve(x, weight, bias, stride, weight.shape[-1] // 2, groups=len(weight))


def _compare(x, weight, bias, stride=1, transposed=False):
    way = (stride, transposed)
    slope = torch.randn(_stock(x.float(), weight, bias, *way).shape).to(_BF16)
    found = _gradients(lambda *one: depthwise(*one, *way, False)[0], (x, weight, bias), slope)
    doubled = [one.double() for one in (x, weight, bias)]
    expected = _gradients(lambda *one: _stock(*one, *way), doubled, slope)
    assert found[0].is_contiguous(memory_format=torch.channels_last_3d)
    for one, other, bound in zip(found, expected, (2e-3, 2e-3, 1e-5, 1e-5), strict=True):
        assert one.shape == other.shape
        assert _distance(one, other) < bound


def test_result_and_gradients(emulated):
    _compare(*_tensors((2, 8, 2, 3, 5)))
    assert {variant.kernel for variant in emulated} == {5}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("shape", "kernel"), [((2, 8, 2, 3, 5), 3), ((1, 16, 5, 6, 1), 5)])
def test_stride_two(shape, kernel, transposed, emulated):
    """Odd and even sizes, and a single voxel."""
    _compare(*_tensors(shape, kernel), 2, transposed)
    assert emulated


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["channels last", "sliced", "misaligned"])
def test_layouts(layout):
    x, weight, bias = _tensors((1, 16, 2, 4, 6))
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last_3d)
    if layout == "sliced":
        x, weight, bias = x[:, ::2, :, 1:], weight[1::2], bias[:1].expand(8)
    if layout == "misaligned":
        rows = torch.randn(x.numel() + 1).to(_BF16)[1:]
        x = rows.view(1, 2, 4, 6, 16).permute(0, 4, 1, 2, 3)
    _compare(x, weight, bias)


def _normed(x, mean, variance):
    shape = (*mean.shape, 1, 1, 1)
    return (x.float() - mean.view(shape)) * (variance + 1e-5).rsqrt().view(shape)


def _fused_norm(x, weight, bias, stride=1, transposed=False):
    return _normed(*depthwise(x, weight, bias, stride, transposed, True))


def _stock_norm(x, weight, bias, stride=1, transposed=False):
    y = _stock(x, weight.to(x.dtype), bias.to(x.dtype), stride, transposed)
    return F.instance_norm(y.float() if x.dtype is _BF16 else y)


_WAYS = [(1, False), (2, False), (2, True)]


@pytest.mark.parametrize(("stride", "transposed"), _WAYS)
def test_moments(emulated, stride, transposed):
    x, weight, bias = _tensors((2, 8, 2, 3, 5), kernel=3)
    y, mean, variance = depthwise(x, weight, bias, stride, transposed, True)
    rows = y.double().flatten(2)
    assert _distance(mean, rows.mean(2)) < 1e-6
    assert _distance(variance, rows.var(2, correction=0)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "transposed"), _WAYS)
def test_gradients_through_moments_are_no_worse_than_stock(stride, transposed):
    side = 16 if transposed else 32
    x, weight, bias = _tensors((1, 8, side, side, side), offset=1.0)
    way = {"stride": stride, "transposed": transposed}
    fused, plain = partial(_fused_norm, **way), partial(_stock_norm, **way)
    noise = torch.randn(plain(x.float(), weight, bias).shape)
    found = _gradients(fused, (x, weight, bias), noise)
    stock = _gradients(plain, (x, weight, bias), noise)
    doubled = [one.double() for one in (x, weight, bias)]
    expected = _gradients(plain, doubled, noise)
    for ours, theirs, exact in zip(found[:3], stock[:3], expected[:3], strict=True):
        assert _distance(ours, exact) < 2 * _distance(theirs, exact)


@pytest.mark.slow
def test_operator_is_well_behaved():
    given = [one.requires_grad_() for one in _tensors((1, 8, 1, 2, 3), kernel=3)]
    for moments in (False, True):
        for way in _WAYS:
            torch.library.opcheck(depthwise_tensor_cores, (*given, *way, moments))


@pytest.mark.slow
def test_compiles():
    x, weight, bias = _tensors((1, 8, 2, 2, 3))
    run = torch.compile(
        lambda *one: depthwise(*one, 1, False, True)[1] * 2, backend="aot_eager", fullgraph=True
    )
    expected = _stock(*(one.double() for one in (x, weight, bias))).mean((2, 3, 4))
    assert _distance(run(x, weight, bias), 2 * expected) < 2e-3


@pytest.mark.slow
def test_results_are_the_same_in_every_run():
    x, weight, bias = _tensors((1, 8, 3, 2, 5))
    run = [_gradients(_fused_norm, (x, weight, bias), x) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*run, strict=True))


def test_frozen_weights_and_no_bias():
    x, weight, _ = _tensors((1, 8, 1, 2, 3))
    x.requires_grad_()
    depthwise(x, weight, None, 1, False, False)[0].sum().backward()
    assert x.grad.isfinite().all()
    assert weight.grad is None


@pytest.mark.parametrize(
    ("shape", "dtype", "stride", "transposed"),
    [
        ((1, 8, 2, 2, 3), torch.float32, 1, False),
        ((1, 4, 2, 2, 3), _BF16, 1, False),
        ((1, 4, 2, 2, 3), _BF16, 2, True),
        ((0, 8, 2, 2, 3), _BF16, 1, False),
    ],
)
def test_what_it_does_not_take_is_left_to_triton(
    shape, dtype, stride, transposed, emulated, monkeypatch
):
    asked = []
    monkeypatch.setattr(triton_operator, "depthwise", lambda *given: asked.append(given[3:]))
    x, weight, bias = _tensors(shape, kernel=3)
    depthwise(x.to(dtype), weight, bias, stride, transposed, False)
    assert asked == [(stride, transposed, False)]
    assert not emulated
