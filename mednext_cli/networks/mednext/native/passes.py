"""Passes over rows (V, C), between oneDNN's products in bfloat16, each in one go where compiled.

PyTorch's own take several, and a third of the time of a narrow block. With few threads one makes
them, which is done before another has begun; how many share the rows changes no bit.
"""

import ctypes
from typing import TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from mednext_cli.networks.mednext.native.library import Library
from mednext_cli.networks.mednext.native.threads import parts_of, run_parts

_FEW_THREADS = 4
_UNIT = 256  # rows that are worth a thread of many


def subtract(library: Library | None, rows: Tensor, pivot: Tensor) -> Tensor:
    """Rows less the pivot (C,), bfloat16."""
    if not _fits(library, rows, pivot):
        return rows - pivot
    result = torch.empty_like(rows)
    _run(library, "subtract", (rows, result), pivot)
    return result


def add(
    library: Library | None, rows: Tensor, bias: Tensor, added: Tensor | None, result: Tensor
) -> None:
    """Fill the result with rows + added + bias (C,), float32; it may be either."""
    arrays = (rows, result) if added is None else (rows, added, result)
    if _fits(library, *arrays):
        _run(library, "bias" if added is None else "add", arrays, bias)
        return
    total = rows.float().add_(bias)
    result.copy_(total if added is None else total.add_(added))


def gelu(library: Library | None, rows: Tensor, bias: Tensor) -> Tensor:
    """GELU of rows + bias (C,), float32; in their place or not."""
    if not _fits(library, rows):
        return F.gelu(rows.float().add_(bias)).bfloat16()
    _run(library, "gelu", (rows,), bias)
    return rows


def gelu_backward(
    library: Library | None, rows: Tensor, bias: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """GELU of rows + bias, and the gradient times its slope there; both may be in their places."""
    if not _fits(library, rows, gradient):
        wide = rows.float().add_(bias)
        back: Tensor = torch.ops.aten.gelu_backward(gradient.float(), wide)
        return F.gelu(wide).bfloat16(), back.bfloat16()
    _run(library, "gelu_backward", (rows, gradient), bias)
    return rows, gradient


def add_line(
    library: Library | None,
    back: Tensor,
    rows: Tensor,
    scale: Tensor,
    slope: Tensor,
    constant: Tensor,
) -> None:
    """Make back * scale + rows * slope + constant of back, bfloat16 or float32.

    The last three are (C,), float32.
    """
    name = "line" if rows.dtype is torch.bfloat16 else "line_float32"
    if _fits(library, back, rows, kind=rows.dtype):
        _run(library, name, (back, rows), scale, slope, constant)
        return
    line = torch.addcmul(constant, rows.float(), slope)
    back.copy_(line.addcmul_(back.float(), scale))


def _fits(
    library: Library | None, *arrays: Tensor, kind: torch.dtype = torch.bfloat16
) -> TypeGuard[Library]:
    """Whether there are kernels and values, and these beside each other."""
    return library is not None and all(
        one.is_contiguous() and one.dtype is kind and not one.is_meta for one in arrays
    )


def _run(library: Library, name: str, arrays: tuple[Tensor, ...], *vectors: Tensor) -> None:
    call, (count, channels) = getattr(library.calls, f"mednext_{name}"), arrays[0].shape
    kept = [one.contiguous() for one in vectors]

    def work(begin: int, end: int) -> None:
        places = (one.data_ptr() + begin * channels * one.element_size() for one in arrays)
        call(
            *map(ctypes.c_void_p, places),
            *(ctypes.c_void_p(one.data_ptr()) for one in kept),
            ctypes.c_ssize_t(end - begin),
            ctypes.c_ssize_t(channels),
        )

    alone = torch.get_num_threads() <= _FEW_THREADS
    run_parts(
        [(0, count)] if alone else parts_of(count, _UNIT, torch.get_num_threads()), work, arrays[0]
    )
