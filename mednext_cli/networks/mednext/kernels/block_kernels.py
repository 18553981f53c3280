"""Triton kernels of the block behind its depthwise convolution. `block` launches them.

Arrays are contiguous: z (N, S, C) with S voxels, scale and shift (N, C) in the accumulator's type,
the 1x1x1 weights expand (HIDDEN, C) and compress (OUT, HIDDEN) in the type of z, y (N, S, OUT). The
expanded activations live in registers, BH of them at a time, and never reach memory.
BM voxels make a tile; BC, BH and BO are powers of two, at least 16, as matrix units want them.
"""

import triton
import triton.language as tl

from mednext_cli.networks.mednext.kernels.gelu_kernels import distribution, gelu_slope

_kernel = triton.jit(do_not_specialize=["S", "H", "W", "blocks", "splits", "batch"])


@triton.jit
def _load(pointer, row, column, ok, COLUMNS: tl.constexpr):
    """Values [row, column] of a matrix, zero outside and where not ok."""
    mask = ok[:, None] & (column < COLUMNS)[None, :]
    return tl.load(pointer + row[:, None] * COLUMNS + column[None, :], mask=mask, other=0.0)


@triton.jit
def _dot(a, b, acc, KIND: tl.constexpr):
    return tl.dot(a.to(KIND), b.to(KIND), acc, input_precision="ieee", out_dtype=acc.dtype)


@triton.jit
def _vector(pointer, index, LENGTH: tl.constexpr, ACC: tl.constexpr):
    return tl.load(pointer + index, mask=index < LENGTH, other=0.0).to(ACC)


@triton.jit
def _normalised(z, ok, c, a_ptr, s_ptr, n, C: tl.constexpr, ACC: tl.constexpr):
    """Normalised z = z * scale + shift, zero where not ok: there it would be the shift."""
    scale = _vector(a_ptr + n * C, c, C, ACC)
    shift = _vector(s_ptr + n * C, c, C, ACC)
    return tl.where(ok[:, None], z * scale[None, :] + shift[None, :], 0.0)


@triton.jit
def _within(index, H, W):
    """Number in z's grid of voxel `index` of the padded one, and whether it is there."""
    w = index % W
    h = (index // W) % H
    d = index // (W * H)
    return ((d - 1) * (H - 1) + h - 1) * (W - 1) + w - 1, (d > 0) & (h > 0) & (w > 0)


@triton.jit
def _padded(index, H, W):
    """Number in the padded grid of voxel `index` of z's."""
    w = index % (W - 1)
    h = (index // (W - 1)) % (H - 1)
    d = index // ((W - 1) * (H - 1))
    return ((d + 1) * H + h + 1) * W + w + 1


@triton.jit
def _coarse(index, H, W):
    """Number in the grid of half the resolution of voxel `index`, and whether it has one."""
    w = index % W
    h = (index // W) % H
    d = index // (W * H)
    there = (d % 2 == 1) & (h % 2 == 1) & (w % 2 == 1)
    return ((d // 2) * (H // 2) + h // 2) * (W // 2) + w // 2, there


@triton.jit
def _gradient(g_ptr, n, start, row, o, S, H, W, OUT: tl.constexpr, PADDED: tl.constexpr):
    """Gradient of the result at voxels start + row of z, zero beyond the last."""
    ok = start + row < S
    if PADDED:
        voxels = (S // ((H - 1) * (W - 1)) + 1) * H * W
        padded = _padded(start + row, H, W).to(tl.int64)
        g = _load(g_ptr + n * voxels * OUT, padded, o, ok, OUT)
    else:
        g = _load(g_ptr + (n * S + start) * OUT, row, o, ok, OUT)
    return g


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
    k_ptr,
    y_ptr,
    S,
    H,
    W,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    RESIDUAL: tl.constexpr,
    SKIP: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BH: tl.constexpr,
    BO: tl.constexpr,
    KIND: tl.constexpr,
    ACC: tl.constexpr,
    GELU: tl.constexpr,
    PADDED: tl.constexpr,
):
    """Normalise, expand, GELU, compress, residual, skip connection. Grid: (blocks of voxels, N).

    S, H and W are of the result. PADDED it has a plane of zeros before the first of z along each
    axis, and the residual is that of every second voxel, from the first of z on.
    """
    n = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0) * BM
    rows = S - start
    base = n * S + start
    row = tl.arange(0, BM)
    c = tl.arange(0, BC)
    o = tl.arange(0, BO)
    ok = row < rows
    if PADDED:
        within, there = _within(start + row, H, W)
        ok = ok & there
        before = n * (S // (H * W) - 1) * (H - 1) * (W - 1)
        z = _load(z_ptr + before * C, within.to(tl.int64), c, ok, C).to(ACC)
    else:
        z = _load(z_ptr + base * C, row, c, ok, C).to(ACC)
    h = _normalised(z, ok, c, a_ptr, s_ptr, n, C, ACC).to(KIND)
    y = tl.zeros([BM, BO], ACC)
    for j in range(0, HIDDEN, BH):
        k = j + tl.arange(0, BH)
        w1 = _load(w1_ptr, k, c, k < HIDDEN, C)
        e = _dot(h, tl.trans(w1), tl.zeros([BM, BH], ACC), KIND)
        e += _vector(b1_ptr, k, HIDDEN, ACC)[None, :]
        w2 = _load(w2_ptr, o, k, o < OUT, HIDDEN)
        y = _dot(e * distribution(e, GELU), tl.trans(w2), y, KIND)
    y += _vector(b2_ptr, o, OUT, ACC)[None, :]
    if PADDED:
        y = tl.where(ok[:, None], y, 0.0)
    if RESIDUAL:
        if PADDED:
            coarse, ok = _coarse(start + row, H, W)
            ok = ok & (row < rows)
            y += _load(r_ptr + n * (S // 8) * OUT, coarse.to(tl.int64), o, ok, OUT).to(ACC)
        else:
            y += _load(r_ptr + base * OUT, row, o, row < rows, OUT).to(ACC)
    if SKIP:
        y += _load(k_ptr + base * OUT, row, o, row < rows, OUT).to(ACC)
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
    H,
    W,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BH: tl.constexpr,
    BO: tl.constexpr,
    KIND: tl.constexpr,
    ACC: tl.constexpr,
    GELU: tl.constexpr,
    PADDED: tl.constexpr,
):
    """Gradient of z, and partial sums (N, blocks, 2 C + OUT) of those of scale, shift, last bias.

    S is of z, H and W of the result, whose gradient has planes before z's first where PADDED. The
    expanded activations are computed again. Grid: (blocks of voxels, N).
    """
    n = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0) * BM
    rows = S - start
    base = n * S + start
    row = tl.arange(0, BM)
    c = tl.arange(0, BC)
    o = tl.arange(0, BO)
    ok = row < rows
    z = _load(z_ptr + base * C, row, c, ok, C).to(ACC)
    h = _normalised(z, ok, c, a_ptr, s_ptr, n, C, ACC).to(KIND)
    g = _gradient(g_ptr, n, start, row, o, S, H, W, OUT, PADDED)
    d = tl.zeros([BM, BC], ACC)
    for j in range(0, HIDDEN, BH):
        k = j + tl.arange(0, BH)
        w1 = _load(w1_ptr, k, c, k < HIDDEN, C)
        e = _dot(h, tl.trans(w1), tl.zeros([BM, BH], ACC), KIND)
        e += _vector(b1_ptr, k, HIDDEN, ACC)[None, :]
        w2 = _load(w2_ptr, o, k, o < OUT, HIDDEN)
        slope = _dot(g, w2, tl.zeros([BM, BH], ACC), KIND)
        slope = slope * gelu_slope(e, distribution(e, GELU))
        d = _dot(slope, w1, d, KIND)
    # Rows beyond the last have no gradient: theirs is zero in g, and so in d.
    partial = p_ptr + (n * tl.num_programs(0) + tl.program_id(0)) * (2 * C + OUT)
    tl.store(partial + c, tl.sum(d * z, axis=0), mask=c < C)
    tl.store(partial + C + c, tl.sum(d, axis=0), mask=c < C)
    tl.store(partial + 2 * C + o, tl.sum(g.to(ACC), axis=0), mask=o < OUT)
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
    H,
    W,
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
    GELU: tl.constexpr,
    PADDED: tl.constexpr,
):
    """Partial sums (splits, HIDDEN, C + OUT + 1): gradients of expand, compress^T, expand's bias.

    A program has BH expanded channels and every `splits`-th block of voxels. Grid: (blocks of
    HIDDEN, splits).
    """
    k = tl.program_id(0) * BH + tl.arange(0, BH)
    row = tl.arange(0, BM)
    c = tl.arange(0, BC)
    o = tl.arange(0, BO)
    w1 = _load(w1_ptr, k, c, k < HIDDEN, C)
    w2 = _load(w2_ptr, o, k, o < OUT, HIDDEN)
    b1 = _vector(b1_ptr, k, HIDDEN, ACC)
    expand = tl.zeros([BH, BC], ACC)
    compress = tl.zeros([BH, BO], ACC)
    bias = tl.zeros([BH], ACC)
    for block in range(tl.program_id(1), batch * blocks, splits):
        n = (tl.program_id(1) * 0 + block // blocks).to(tl.int64)
        start = (block % blocks) * BM
        rows = S - start
        base = n * S + start
        ok = row < rows
        z = _load(z_ptr + base * C, row, c, ok, C).to(ACC)
        h = _normalised(z, ok, c, a_ptr, s_ptr, n, C, ACC).to(KIND)
        g = _gradient(g_ptr, n, start, row, o, S, H, W, OUT, PADDED)
        e = _dot(h, tl.trans(w1), tl.zeros([BM, BH], ACC), KIND) + b1[None, :]
        below = distribution(e, GELU)
        slope = _dot(g, w2, tl.zeros([BM, BH], ACC), KIND) * gelu_slope(e, below)
        expand = _dot(tl.trans(slope.to(KIND)), h, expand, KIND)
        compress = _dot(tl.trans((e * below).to(KIND)), g, compress, KIND)
        bias += tl.sum(slope, axis=0)
    width: tl.constexpr = C + OUT + 1
    partial = p_ptr + tl.program_id(1).to(tl.int64) * HIDDEN * width + k * width
    inside = k < HIDDEN
    tl.store(partial[:, None] + c[None, :], expand, mask=inside[:, None] & (c < C)[None, :])
    tl.store(partial[:, None] + C + o[None, :], compress, mask=inside[:, None] & (o < OUT)[None, :])
    tl.store(partial + C + OUT, bias, mask=inside)
