"""Triton kernels of the block behind its depthwise convolution. `block` launches them.

Arrays are contiguous: z (N, S, C) with S voxels, scale and shift (N, C) in the accumulator's type,
the 1x1x1 weights expand (HIDDEN, C) and compress (OUT, HIDDEN) in the type of z, y (N, S, OUT). The
expanded activations live in registers, BH of them at a time, and never reach memory.
BM voxels make a tile; BC, BH and BO are powers of two, at least 16, as matrix units want them.
"""

import triton
import triton.language as tl

_kernel = triton.jit(do_not_specialize=["S", "blocks", "splits", "batch"])


@triton.jit
def _load(pointer, row, column, rows, COLUMNS: tl.constexpr):
    """Values [row, column] of a matrix, zero outside."""
    mask = (row < rows)[:, None] & (column < COLUMNS)[None, :]
    return tl.load(pointer + row[:, None] * COLUMNS + column[None, :], mask=mask, other=0.0)


@triton.jit
def _dot(a, b, acc, KIND: tl.constexpr):
    return tl.dot(a.to(KIND), b.to(KIND), acc, input_precision="ieee", out_dtype=acc.dtype)


@triton.jit
def _vector(pointer, index, LENGTH: tl.constexpr, ACC: tl.constexpr):
    return tl.load(pointer + index, mask=index < LENGTH, other=0.0).to(ACC)


@triton.jit
def _normalised(z, row, rows, c, a_ptr, s_ptr, n, C: tl.constexpr, ACC: tl.constexpr):
    """Normalised z = z * scale + shift, zero outside: rows beyond the last would hold the shift."""
    scale = _vector(a_ptr + n * C, c, C, ACC)
    shift = _vector(s_ptr + n * C, c, C, ACC)
    return tl.where((row < rows)[:, None], z * scale[None, :] + shift[None, :], 0.0)


@triton.jit
def _distribution(e):
    """The standard normal distribution function."""
    return 0.5 * (1.0 + tl.math.erf(e * 0.7071067811865476))


@triton.jit
def _gelu_slope(e, below):
    return below + e * tl.exp(-0.5 * e * e) * 0.3989422804014327


@_kernel
def forward(
    z_ptr,
    a_ptr,
    s_ptr,
    w1_ptr,
    b1_ptr,
    w2_ptr,
    b2_ptr,
    r_ptr,
    y_ptr,
    S,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BH: tl.constexpr,
    BO: tl.constexpr,
    KIND: tl.constexpr,
    ACC: tl.constexpr,
):
    """Normalise, expand, GELU, compress, residual. Grid: (blocks of voxels, N)."""
    n = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0) * BM
    rows = S - start
    base = n * S + start
    row = tl.arange(0, BM)
    c = tl.arange(0, BC)
    o = tl.arange(0, BO)
    z = _load(z_ptr + base * C, row, c, rows, C).to(ACC)
    h = _normalised(z, row, rows, c, a_ptr, s_ptr, n, C, ACC).to(KIND)
    y = tl.zeros([BM, BO], ACC)
    for j in range(0, HIDDEN, BH):
        k = j + tl.arange(0, BH)
        w1 = _load(w1_ptr, k, c, HIDDEN, C)
        e = _dot(h, tl.trans(w1), tl.zeros([BM, BH], ACC), KIND)
        e += _vector(b1_ptr, k, HIDDEN, ACC)[None, :]
        w2 = _load(w2_ptr, o, k, OUT, HIDDEN)
        y = _dot(e * _distribution(e), tl.trans(w2), y, KIND)
    y += _vector(b2_ptr, o, OUT, ACC)[None, :]
    if RESIDUAL:
        y += _load(r_ptr + base * OUT, row, o, rows, OUT).to(ACC)
    mask = (row < rows)[:, None] & (o < OUT)[None, :]
    offsets = row[:, None] * OUT + o[None, :]
    tl.store(y_ptr + base * OUT + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@_kernel
def input_gradient(
    z_ptr,
    a_ptr,
    s_ptr,
    w1_ptr,
    b1_ptr,
    w2_ptr,
    g_ptr,
    d_ptr,
    p_ptr,
    S,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BH: tl.constexpr,
    BO: tl.constexpr,
    KIND: tl.constexpr,
    ACC: tl.constexpr,
):
    """Gradient of z, and partial sums (N, blocks, 2, C) of those of scale and shift.

    The expanded activations are computed again. Grid: (blocks of voxels, N).
    """
    n = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0) * BM
    rows = S - start
    base = n * S + start
    row = tl.arange(0, BM)
    c = tl.arange(0, BC)
    o = tl.arange(0, BO)
    z = _load(z_ptr + base * C, row, c, rows, C).to(ACC)
    h = _normalised(z, row, rows, c, a_ptr, s_ptr, n, C, ACC).to(KIND)
    g = _load(g_ptr + base * OUT, row, o, rows, OUT)
    d = tl.zeros([BM, BC], ACC)
    for j in range(0, HIDDEN, BH):
        k = j + tl.arange(0, BH)
        w1 = _load(w1_ptr, k, c, HIDDEN, C)
        e = _dot(h, tl.trans(w1), tl.zeros([BM, BH], ACC), KIND)
        e += _vector(b1_ptr, k, HIDDEN, ACC)[None, :]
        w2 = _load(w2_ptr, o, k, OUT, HIDDEN)
        slope = _dot(g, w2, tl.zeros([BM, BH], ACC), KIND)
        slope = slope * _gelu_slope(e, _distribution(e))
        d = _dot(slope, w1, d, KIND)
    # Rows beyond the last have no gradient: theirs is zero in g, and so in d.
    partial = p_ptr + (n * tl.num_programs(0) + tl.program_id(0)) * 2 * C + c
    tl.store(partial, tl.sum(d * z, axis=0), mask=c < C)
    tl.store(partial + C, tl.sum(d, axis=0), mask=c < C)
    d = d * _vector(a_ptr + n * C, c, C, ACC)[None, :]
    mask = (row < rows)[:, None] & (c < C)[None, :]
    offsets = row[:, None] * C + c[None, :]
    tl.store(d_ptr + base * C + offsets, d.to(d_ptr.dtype.element_ty), mask=mask)


@_kernel
def weight_gradient(
    z_ptr,
    a_ptr,
    s_ptr,
    w1_ptr,
    b1_ptr,
    w2_ptr,
    g_ptr,
    p_ptr,
    S,
    batch,
    blocks,
    splits,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BH: tl.constexpr,
    BO: tl.constexpr,
    KIND: tl.constexpr,
    ACC: tl.constexpr,
):
    """Partial sums (splits, HIDDEN, C + OUT + 1): gradients of expand, compress^T, expand's bias.

    A program has BH expanded channels and every `splits`-th block of voxels. Grid: (blocks of
    HIDDEN, splits).
    """
    k = tl.program_id(0) * BH + tl.arange(0, BH)
    row = tl.arange(0, BM)
    c = tl.arange(0, BC)
    o = tl.arange(0, BO)
    w1 = _load(w1_ptr, k, c, HIDDEN, C)
    w2 = _load(w2_ptr, o, k, OUT, HIDDEN)
    b1 = _vector(b1_ptr, k, HIDDEN, ACC)
    expand = tl.zeros([BH, BC], ACC)
    compress = tl.zeros([BH, BO], ACC)
    bias = tl.zeros([BH], ACC)
    for block in range(tl.program_id(1), batch * blocks, splits):
        n = (tl.program_id(1) * 0 + block // blocks).to(tl.int64)
        start = (block % blocks) * BM
        rows = S - start
        base = n * S + start
        z = _load(z_ptr + base * C, row, c, rows, C).to(ACC)
        h = _normalised(z, row, rows, c, a_ptr, s_ptr, n, C, ACC).to(KIND)
        g = _load(g_ptr + base * OUT, row, o, rows, OUT)
        e = _dot(h, tl.trans(w1), tl.zeros([BM, BH], ACC), KIND) + b1[None, :]
        below = _distribution(e)
        slope = _dot(g, w2, tl.zeros([BM, BH], ACC), KIND) * _gelu_slope(e, below)
        expand = _dot(tl.trans(slope.to(KIND)), h, expand, KIND)
        compress = _dot(tl.trans((e * below).to(KIND)), g, compress, KIND)
        bias += tl.sum(slope, axis=0)
    width: tl.constexpr = C + OUT + 1
    partial = p_ptr + tl.program_id(1).to(tl.int64) * HIDDEN * width + k * width
    inside = k < HIDDEN
    tl.store(partial[:, None] + c[None, :], expand, mask=inside[:, None] & (c < C)[None, :])
    tl.store(partial[:, None] + C + o[None, :], compress, mask=inside[:, None] & (o < OUT)[None, :])
    tl.store(partial + C + OUT, bias, mask=inside)
