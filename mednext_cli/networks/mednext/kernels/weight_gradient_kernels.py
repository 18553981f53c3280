"""Triton kernels of the depthwise convolution's weight gradient, as `depthwise_kernels`."""

import triton
import triton.language as tl

from mednext_cli.networks.mednext.kernels.depthwise_kernels import kernel, row_of, zeros


@triton.jit
def _store_taps(p_ptr, split, u, acc, total, c, C, K: tl.constexpr):
    base = p_ptr + split.to(tl.int64) * (K * K * K + 1) * C + c
    for t in tl.static_range(K):
        for v in tl.static_range(K):
            tap = (t * K + u) * K + v
            tl.store(base + tap * C, tl.sum(acc[t * K + v], axis=0), mask=c < C)
    # Every u sums the gradient; the first one stores it, for the bias, behind the taps.
    tl.store(base + K * K * K * C, tl.sum(total, axis=0), mask=(c < C) & (u == 0))


@kernel
def weight_gradient(
    x_ptr,
    g_ptr,
    p_ptr,
    D,
    H,
    W,
    groups,
    columns,
    splits,
    K: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
    VEC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Stride 1: partial sums (splits, K^3 + 1, C); the last row is the bias's.

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
        line = h + u - P
        near = zeros(K, BW, BC, ACC)
        for q in range(-P, D):
            o = q + P
            g = row_of(g_ptr, (n * D + o) * H + h, w, W, c, C, o < D, ACC)
            total += g
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
    _store_taps(p_ptr, split, u, acc, total, c, C, K)


@kernel
def strided_weight_gradient(
    x_ptr,
    g_ptr,
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
    for column in range(split, columns, splits):
        w = (column % blocks) * BW + tl.arange(0, BW)
        h = (column // blocks) % OH
        n = (split * 0 + column // (blocks * OH)).to(tl.int64)
        line = 2 * h + u - P
        for o in range(OD):
            g = row_of(g_ptr, (n * OD + o) * OH + h, w, OW, c, C, o < OD, ACC)
            total += g
            new = ()
            for t in tl.static_range(K):
                plane = 2 * o + (t - P)
                ok = (plane >= 0) & (plane < D) & (line >= 0) & (line < H)
                row = (n * D + plane) * H + line
                for v in tl.static_range(K):
                    # A gradient outside the grid is zero, whatever voxel of x it meets.
                    x = row_of(x_ptr, row, 2 * w + (v - P), W, c, C, ok, ACC)
                    new = new + (acc[t * K + v] + x * g,)
            acc = new
    _store_taps(p_ptr, split, u, acc, total, c, C, K)
