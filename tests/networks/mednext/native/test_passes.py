"""Passes over bfloat16 rows, compiled or by PyTorch: what float64 gives, rounded once."""

import pytest
import torch

from mednext_cli.networks.mednext.native import library as native
from mednext_cli.networks.mednext.native import passes
from mednext_cli.networks.mednext.native.library import library_for

pytestmark = pytest.mark.skipif(not native.libraries(), reason="no kernels were compiled")
_CHANNELS = 48
_STEP = 2.0**-7  # of bfloat16, relative


@pytest.fixture(params=["compiled", "many threads", "pytorch"])
def library(request, monkeypatch):
    """By which way."""
    if request.param == "many threads":
        monkeypatch.setattr(passes, "_FEW_THREADS", 0)
        monkeypatch.setattr(passes, "_UNIT", 5)
        monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    return None if request.param == "pytorch" else library_for(_CHANNELS)


@pytest.fixture
def rows():
    torch.manual_seed(0)
    return (3 * torch.randn(37, _CHANNELS)).bfloat16()


def _assert_rounded(found, exact):
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=_STEP / 2 * 1.01, atol=1e-6)


@pytest.fixture
def bias():
    return torch.randn(_CHANNELS, generator=torch.Generator().manual_seed(1))


def test_subtract(library, rows):
    pivot = rows[5].clone()
    assert torch.equal(passes.subtract(library, rows, pivot), rows - pivot)


@pytest.mark.parametrize("added", [False, True])
def test_add(library, added, rows, bias):
    exact = rows.float() + bias
    result = torch.zeros_like(rows)
    if added:
        result = rows.flip(0).clone()
        exact = exact + result.float()
    given = (rows, bias, result if added else None, result)
    passes.add(library, *given)
    assert torch.equal(result, exact.bfloat16())


def test_the_instruction_that_rounds_changes_no_bit_of_normal_numbers(rows, bias, monkeypatch):
    """Nor is the library that has it needed."""
    if not native.rounds_to_bfloat16():
        pytest.skip("the processor has no AVX512-BF16")
    native.libraries.cache_clear()
    with_it = library_for(_CHANNELS)
    monkeypatch.setattr(native, "rounds_to_bfloat16", lambda: False)
    native.libraries.cache_clear()
    without = library_for(_CHANNELS)
    monkeypatch.undo()
    native.libraries.cache_clear()
    if with_it.calls._name == without.calls._name:
        pytest.skip("the compiler does not know AVX512-BF16")
    results = [passes.gelu(one, rows.clone(), bias) for one in (with_it, without)]
    assert torch.equal(*results)


def test_gelu(library, rows, bias):
    exact = torch.nn.functional.gelu(rows.double() + bias)
    _assert_rounded(passes.gelu(library, rows, bias), exact)


def test_gelu_of_values_that_are_hardly_numbers(library):
    values = [float("nan"), 1e30, -1e38, 1e38, -5.5, -1e-30, 1e-30, 0.0]
    rows = torch.tensor(values * (_CHANNELS // 8)).bfloat16()[None].contiguous()
    found = passes.gelu(library, rows.clone(), torch.zeros(_CHANNELS))
    exact = torch.nn.functional.gelu(rows.double())
    torch.testing.assert_close(found.double(), exact, rtol=_STEP, atol=1e-6, equal_nan=True)


def test_gelu_backward(library, rows, bias):
    x = (rows.double() + bias).requires_grad_()
    exact = torch.nn.functional.gelu(x)
    slope = rows.flip(0).clone()
    exact.backward(slope.double())
    active, back = passes.gelu_backward(library, rows, bias, slope)
    _assert_rounded(active, exact.detach())
    _assert_rounded(back, x.grad)


def test_add_line(library, rows):
    scale, slope, constant = torch.randn(3, _CHANNELS)
    back = rows.flip(0).clone()
    exact = back.double() * scale + rows.double() * slope + constant
    passes.add_line(library, back, rows, scale, slope, constant)
    torch.testing.assert_close(back.double(), exact, rtol=_STEP, atol=1e-5)


def test_values_apart_from_each_other_and_none_are_left_to_pytorch(library, rows, bias):
    apart = rows.repeat(2, 1)[::2]
    expected = apart - apart[3]
    assert torch.equal(passes.subtract(library, apart, apart[3]), expected)
    assert passes.gelu(library, rows[:0], bias).shape == (0, _CHANNELS)
