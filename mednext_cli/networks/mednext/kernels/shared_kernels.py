"""What the depthwise kernels share: loading rows, sums of tiles, moments.

Arrays are contiguous (N, D, H, W, C); weights (K, K, K, C) in the accumulator's type. A tile is
[BW, BC]: voxels along W times channels, one row of the volume at a time. Offsets of rows are
64-bit, offsets within a row 32-bit.
"""

import triton
import triton.language as tl

SIZES = ["N", "D", "H", "W", "OD", "OH", "OW", "groups", "planes", "rows", "columns", "splits"]


def kernel(function):
    """Compile without a variant for every size that is 1 or a multiple of 16."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return triton.jit(do_not_specialize=[name for name in SIZES if name in names])(function)


@triton.jit
def zeros(COUNT: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr, ACC: tl.constexpr):
    """COUNT tiles of zeros, as a tuple."""
    made = ()
    for _ in tl.static_range(COUNT):
        made = made + (tl.zeros([BW, BC], ACC),)
    return made


@triton.jit
def row_of(pointer, row, column, length, c, C, ok, ACC: tl.constexpr):
    """Voxels `column` of row number `row`, of `length` voxels; zero outside and where not ok."""
    mask = (ok & (column >= 0) & (column < length))[:, None] & (c < C)[None, :]
    offsets = column[:, None] * C + c[None, :]
    return tl.load(pointer + row * length * C + offsets, mask=mask, other=0.0).to(ACC)


@triton.jit
def terms_of(t_ptr, n, c, C, TERMS: tl.constexpr, BC: tl.constexpr, ACC: tl.constexpr):
    """Constant and slope [BC] of sample n in terms (N, 2, C); zeros where there are none."""
    constant = tl.zeros([BC], ACC)
    slope = tl.zeros([BC], ACC)
    if TERMS:
        constant = tl.load(t_ptr + n * 2 * C + c, mask=c < C, other=0.0)
        slope = tl.load(t_ptr + n * 2 * C + C + c, mask=c < C, other=0.0)
    return constant, slope


@triton.jit
def gradient_row(
    g_ptr,
    y_ptr,
    constant,
    slope,
    row,
    column,
    length,
    c,
    C,
    ok,
    TERMS: tl.constexpr,
    ACC: tl.constexpr,
):
    """A row of a gradient, as `row_of`; with TERMS also constant + slope * y within the grid.

    Added here the sum is rounded nowhere: half precision would lose so small an addend.
    """
    g = row_of(g_ptr, row, column, length, c, C, ok, ACC)
    if TERMS:
        inside = (ok & (column >= 0) & (column < length))[:, None]
        y = row_of(y_ptr, row, column, length, c, C, ok, ACC)
        g = g + y * slope[None, :] + tl.where(inside, constant[None, :], 0.0)
    return g


@triton.jit
def tap_of(w_ptr, index, c, C):
    """The weights [1, BC] of tap number `index`."""
    return tl.load(w_ptr + index * C + c, mask=c < C, other=0.0)[None, :]


@triton.jit
def merge(mean, m2, count, values, valid, number):
    """Add a row's values to running mean and sum of squared differences (Chan et al. 1979)."""
    safe = tl.maximum(number, 1.0)
    here = tl.sum(tl.where(valid, values, 0.0), axis=0) / safe
    centred = tl.where(valid, values - here[None, :], 0.0)
    spread = tl.sum(centred * centred, axis=0)
    total = tl.maximum(count + number, 1.0)
    delta = here - mean
    mean = mean + delta * (number / total)
    m2 = m2 + spread + delta * delta * (count * number / total)
    return mean, m2, count + number


@triton.jit
def store_moments(m_ptr, index, mean, m2, count, c, C):
    """Program number `index`'s row (3, C) of the partial moments."""
    base = m_ptr + index * 3 * C + c
    tl.store(base, mean, mask=c < C)
    tl.store(base + C, m2, mask=c < C)
    tl.store(base + 2 * C, tl.zeros_like(mean) + count, mask=c < C)
