"""The tensor cores' kernels, lane by lane on the CPU, against PyTorch in float64."""

import random
from threading import Thread

import pytest
import torch
from torch.nn import functional as F

from mednext_cli.networks.mednext.kernels.tensor_cores.launching import Launcher, planes, programs
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import (
    DTYPES,
    SHARED_BYTES,
    SIZES,
    Variant,
)
from tests.networks.mednext.kernels.emulation import driver_of, kernels_of

_SLOW = pytest.mark.slow
_BF16, _FP16 = torch.bfloat16, torch.float16
_BOUND = {_BF16: 2e-3, _FP16: 3e-4}  # the result's rounding
_SUMS = 1e-5  # in float32
_GUARD = 4096
# kernel, type, (N, D, H, W, C)
_CASES = [
    (5, _BF16, (1, 3, 5, 17, 8)),
    pytest.param(5, _BF16, (2, 7, 33, 18, 24), marks=_SLOW),
    pytest.param(5, _FP16, (1, 6, 19, 21, 16), marks=_SLOW),
    pytest.param(3, _BF16, (1, 1, 1, 1, 40), marks=_SLOW),
    pytest.param(3, _BF16, (2, 9, 16, 17, 16), marks=_SLOW),
    pytest.param(3, _FP16, (1, 4, 31, 3, 8), marks=_SLOW),
    pytest.param(7, _BF16, (1, 12, 17, 20, 16), marks=_SLOW),
    pytest.param(7, _FP16, (2, 2, 16, 16, 8), marks=_SLOW),
]


def _distance(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


def _first(x):
    return x.double().permute(0, 4, 1, 2, 3)


@pytest.fixture(autouse=True)
def guarded(monkeypatch):
    """What is given to a kernel to write is NaN and lies between NaN, which has to stay."""
    made = []

    def empty(shape, *, dtype, device):
        number = torch.Size(shape).numel()
        whole = torch.full((number + 2 * _GUARD,), float("nan"), dtype=dtype, device=device)
        made.append((whole, number))
        return whole[_GUARD : _GUARD + number].view(shape)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(
        torch, "empty_like", lambda x: empty(x.shape, dtype=x.dtype, device=x.device)
    )
    yield empty
    for whole, number in made:
        assert whole[:_GUARD].isnan().all()
        assert whole[_GUARD + number :].isnan().all()


def _tensors(kernel, dtype, shape, empty):
    """An image and a gradient between NaN; taps that the type can hold."""
    torch.manual_seed(0)
    image, gradient = (
        empty(shape, dtype=dtype, device="cpu").copy_(torch.randn(shape)) for _ in range(2)
    )
    taps = torch.randn(shape[-1], 1, kernel, kernel, kernel).to(dtype).float()
    return image, gradient, taps, torch.randn(shape[-1])


def _expected(image, gradient, taps, bias):
    """Result, gradients of image, taps and bias, in float64 and PyTorch's order of axes."""
    given = [one.double().requires_grad_() for one in (_first(image), taps, bias)]
    result = F.conv3d(*given, padding=taps.shape[-1] // 2, groups=len(taps))
    return result.detach(), *torch.autograd.grad(result, given, _first(gradient))


def _random_cases(number):
    draw = random.Random(0)
    for _ in range(number):
        shape = (draw.randint(1, 2), draw.randint(1, 9), draw.randint(1, 35), draw.randint(1, 35))
        yield draw.choice(SIZES), draw.choice(tuple(DTYPES)), (*shape, 8 * draw.randint(1, 3))


@pytest.mark.parametrize(
    ("kernel", "dtype", "shape"),
    [*_CASES, *(pytest.param(*case, marks=_SLOW) for case in _random_cases(6))],
)
def test_result_and_gradients(kernel, dtype, shape, guarded):
    image, gradient, taps, bias = _tensors(kernel, dtype, shape, guarded)
    variant = Variant(kernel, dtype)
    launcher = Launcher(kernels_of(variant), variant)
    result, x_gradient, taps_gradient, bias_gradient = _expected(image, gradient, taps, bias)
    found = launcher.convolve(image, taps, bias, False)
    assert _distance(_first(found), result) < _BOUND[dtype]
    with_moments, partials = launcher.convolve_with_moments(image, taps, bias)
    assert torch.equal(with_moments, found)
    assert partials[:, :, 2].sum(1).eq(shape[1] * shape[2] * shape[3]).all()
    found = launcher.convolve(gradient, taps, None, True)
    assert _distance(_first(found), x_gradient) < _BOUND[dtype]
    sums = launcher.weight_sums(image, gradient)
    assert _distance(sums[:, :-1].reshape(taps.shape), taps_gradient) < _SUMS
    assert _distance(sums[:, -1], bias_gradient) < _SUMS


@pytest.mark.parametrize("kernel", [pytest.param(3, marks=_SLOW), 5, pytest.param(7, marks=_SLOW)])
def test_the_order_of_warps_changes_nothing(kernel, guarded):
    image, gradient, taps, bias = _tensors(kernel, _BF16, (1, 4, 3, 18, 8), guarded)
    variant = Variant(kernel, _BF16)
    one, other = (
        (
            launcher.convolve(image, taps, bias, False),
            *launcher.convolve_with_moments(image, taps, bias),
            launcher.weight_sums(image, gradient),
        )
        for launcher in (Launcher(kernels_of(variant, back), variant) for back in (False, True))
    )
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_moments_are_exact_far_from_zero(guarded):
    image, _, taps, bias = _tensors(5, _BF16, (2, 5, 3, 17, 8), guarded)
    variant = Variant(5, _BF16)
    launcher = Launcher(kernels_of(variant), variant)
    result, partials = launcher.convolve_with_moments(image, taps, bias + 1000)
    rows = _first(result).flatten(2)
    mean, squares, count = partials.double().unbind(2)
    whole = (mean * count).sum(1) / count.sum(1)
    spread = (squares + count * (mean - whole[:, None]).square()).sum(1) / count.sum(1)
    assert _distance(whole, rows.mean(2)) < 1e-6
    assert _distance(spread, rows.var(2, correction=0)) < 1e-4


@pytest.mark.parametrize("dtype", [_BF16, pytest.param(_FP16, marks=_SLOW)])
def test_what_comes_through_moments_is_not_lost(dtype, guarded):
    image, gradient, _, _ = _tensors(5, dtype, (2, 16, 32, 32, 8), guarded)
    variant = Variant(5, dtype)
    # A thousandth: less than half a step of nearly all values.
    terms = torch.tensor([1e-3, -2e-3]).view(1, 2, 1).repeat(2, 1, 8)
    found = Launcher(kernels_of(variant), variant).through_moments(gradient, image, terms)
    expected = gradient.double() + 1e-3 - 2e-3 * image.double()
    power = (2.0 ** expected.abs().log2().floor()).clamp(min=torch.finfo(dtype).smallest_normal)
    step = torch.finfo(dtype).eps * power
    assert ((found.double() - expected).abs() <= 1.01 * step).all()
    added = (found.double() - gradient.double()).mean()
    wanted = (expected - gradient.double()).mean()
    assert added.item() == pytest.approx(wanted.item(), rel=0.1)
    again = Launcher(kernels_of(variant), variant).through_moments(gradient, image, terms)
    assert torch.equal(found, again)


def test_a_thread_that_has_not_called_cuda_launches(guarded):
    image, _, taps, _ = _tensors(5, _BF16, (1, 1, 2, 2, 8), guarded)
    variant, found = Variant(5, _BF16), []
    launcher = Launcher(kernels_of(variant), variant)
    thread = Thread(target=lambda: found.append(launcher.convolve(image, taps, None, False)))
    thread.start()
    thread.join()
    assert torch.equal(found[0], launcher.convolve(image, taps, None, False))


def test_planes_share_the_work_among_multiprocessors():
    # 128 planes each, two waves: chunks would read planes twice and save nothing.
    assert planes(128, 256, 5, 132) == 128
    # Half of the multiprocessors would be idle.
    assert planes(32, 64, 5, 132) == 16
    assert planes(1, 1000, 7, 132) == 1


def test_programs_cover_the_image():
    found = programs(torch.Size((2, 32, 17, 16, 24)), Variant(5, _BF16), 132)
    assert found.tiles == 2
    assert found.grid[0] == 2 * 2
    assert found.grid[1] * found.planes >= 32
    assert found.grid[2] == 2


def test_a_launch_that_the_driver_refuses_is_an_error():
    kernels = kernels_of(Variant(5, _BF16))
    with pytest.raises(RuntimeError, match="no kernel of this name"):
        kernels.launch("deconvolve", (1, 1, 1), 32, SHARED_BYTES)
    with pytest.raises(RuntimeError, match="a grid that no GPU takes"):
        kernels.launch("convolve", (0, 1, 1), 32, SHARED_BYTES)
    assert driver_of(Variant(5, _BF16)).cuFuncSetAttribute(None, 8, 10**6) == 1
