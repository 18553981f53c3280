"""Triton kernels of the depthwise convolution's weight gradient, as `depthwise_kernels`.

Partial sums are (splits, K^3 + K, C): the taps', and behind them what each row u of the kernel's H
axis adds to the sum of the gradient, which is the bias's.
"""

import triton
import triton.language as tl

from mednext_cli.networks.mednext.kernels.shared_kernels import (
    gradient_row,
    kernel,
    row_of,
    terms_of,
    zeros,
)


@triton.jit
def _store_sums(p_ptr, split, u, acc, total, c, C, K: tl.constexpr):
    base = p_ptr + split.to(tl.int64) * (K * K * K + K) * C + c
    for t in tl.static_range(K):
        for v in tl.static_range(K):
            tap = (t * K + u) * K + v
            tl.store(base + tap * C, tl.sum(acc[t * K + v], axis=0), mask=c < C)
    tl.store(base + (K * K * K + u) * C, tl.sum(total, axis=0), mask=c < C)


@kernel
def weight_gradient(
    x_ptr,
    g_ptr,
    z_ptr,
    t_ptr,
    p_ptr,
    D,
    H,
    W,
    groups,
    columns,
    splits,
    K: tl.constexpr,
    TERMS: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
    VEC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Stride 1: partial sums.

    A program has one row u of the kernel's H axis and all K x K taps along D and W in registers. It
    walks along D with the gradients of K planes in registers, for every `splits`-th column
    (sample, row, block of W) of the volume. Grid: (splits x K, blocks of C); the K programs that
    read the same column are neighbours, so that the second level cache serves them.
    """
    P: tl.constexpr = K // 2
    C = groups * VEC
    u = tl.program_id(0) % K
    split = tl.program_id(0) // K
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    blocks = (W + BW - 1) // BW
    acc = zeros(K * K, BW, BC, ACC)
    total = tl.zeros([BW, BC], ACC)
    for column in range(split, columns, splits):
        w = (column % blocks) * BW + tl.arange(0, BW)
        h = (column // blocks) % H
        n = (split * 0 + column // (blocks * H)).to(tl.int64)
        constant, slope = terms_of(t_ptr, n, c, C, TERMS, BC, ACC)
        line = h + u - P
        near = zeros(K, BW, BC, ACC)
        for q in range(-P, D):
            o = q + P
            row = (n * D + o) * H + h
            g = gradient_row(g_ptr, z_ptr, constant, slope, row, w, W, c, C, o < D, TERMS, ACC)
            # Every u sees the whole gradient: one sums it.
            total += tl.where(u == 0, g, 0.0)
            rolled = ()
            for s in tl.static_range(1, K):
                rolled = rolled + (near[s],)
            near = rolled + (g,)
            ok = (q >= 0) & (line >= 0) & (line < H)
            row = (n * D + q) * H + line
            xs = ()
            for v in tl.static_range(K):
                xs = xs + (row_of(x_ptr, row, w + (v - P), W, c, C, ok, ACC),)
            new = ()
            for t in tl.static_range(K):
                for v in tl.static_range(K):
                    # Slot s holds the gradient of output plane q - P + s, seen by tap K - 1 - s.
                    new = new + (acc[t * K + v] + xs[v] * near[K - 1 - t],)
            acc = new
    _store_sums(p_ptr, split, u, acc, total, c, C, K)


@kernel
def strided_weight_gradient(
    x_ptr,
    g_ptr,
    z_ptr,
    t_ptr,
    p_ptr,
    D,
    H,
    W,
    OD,
    OH,
    OW,
    groups,
    columns,
    splits,
    K: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    TERMS: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
    VEC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Stride 2: the same, from the large grid (D, H, W) at x and the small one at g.

    For the transposed convolution x is the output's gradient and g the input.
    """
    P: tl.constexpr = K // 2
    C = groups * VEC
    u = tl.program_id(0) % K
    split = tl.program_id(0) // K
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    blocks = (OW + BW - 1) // BW
    acc = zeros(K * K, BW, BC, ACC)
    total = tl.zeros([BW, BC], ACC)
    counted = ((u == P) | (u == P + 1)) if TRANSPOSED else (u == 0)
    for column in range(split, columns, splits):
        w = (column % blocks) * BW + tl.arange(0, BW)
        h = (column // blocks) % OH
        n = (split * 0 + column // (blocks * OH)).to(tl.int64)
        constant, slope = terms_of(t_ptr, n, c, C, TERMS, BC, ACC)
        line = 2 * h + u - P
        for o in range(OD):
            row = (n * OD + o) * OH + h
            g = gradient_row(
                g_ptr,
                z_ptr,
                constant,
                slope,
                row,
                w,
                OW,
                c,
                C,
                o < OD,
                TERMS and not TRANSPOSED,
                ACC,
            )
            if not TRANSPOSED:
                total += tl.where(counted, g, 0.0)
            new = ()
            for t in tl.static_range(K):
                plane = 2 * o + (t - P)
                ok = (plane >= 0) & (plane < D) & (line >= 0) & (line < H)
                row = (n * D + plane) * H + line
                for v in tl.static_range(K):
                    # A gradient outside the grid is zero, whatever voxel of x it meets.
                    at = 2 * w + (v - P)
                    x = gradient_row(
                        x_ptr,
                        z_ptr,
                        constant,
                        slope,
                        row,
                        at,
                        W,
                        c,
                        C,
                        ok,
                        TERMS and TRANSPOSED,
                        ACC,
                    )
                    # These taps meet every voxel of the large grid once.
                    if TRANSPOSED and (t == P or t == P + 1) and (v == P or v == P + 1):
                        total += tl.where(counted, x, 0.0)
                    new = new + (acc[t * K + v] + x * g,)
            acc = new
    _store_sums(p_ptr, split, u, acc, total, c, C, K)
