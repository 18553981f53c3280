"""The watch over addresses notices what it is for."""

import pytest
import torch
import triton
import triton.language as tl

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter's own")


@triton.jit
def _copy(x_ptr, y_ptr, shift, length, step):
    i = tl.program_id(0) * step + tl.arange(0, 4)
    tl.store(y_ptr + i, tl.load(x_ptr + i + shift, mask=i < length), mask=i < length)


def _run(shift, length, step):
    x, y = torch.arange(8.0), torch.zeros(8)
    _copy[2,](x, y, shift, length, step)
    return y


def test_what_is_right_passes():
    assert _run(0, 7, 4).tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


@pytest.mark.parametrize("given", [(-1, 8, 4), (1, 8, 4), (0, 9, 5)])
def test_addresses_outside_are_errors(given):
    with pytest.raises(Exception, match="outside its tensors"):
        _run(*given)


def test_stores_to_one_address_are_an_error():
    with pytest.raises(Exception, match="twice"):
        _run(0, 8, 3)
