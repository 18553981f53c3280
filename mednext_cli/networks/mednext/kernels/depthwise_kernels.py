"""Triton kernels of the depthwise convolution. Needs Triton; `depthwise_launches` launches them.

Arrays, tiles and offsets are as in `shared_kernels`. P = K // 2 is the padding. Every kernel takes
the channels as `groups` x `VEC`, so that one thread loads VEC channels at once and keeps the rest
of its tile along W, where it uses each weight again. With TERMS the input is a gradient of a
convolution's result z, and what comes through z's mean and variance is added where it is loaded.
"""

import triton.language as tl

from mednext_cli.networks.mednext.kernels.shared_kernels import (
    gradient_row,
    kernel,
    merge,
    store_moments,
    tap_of,
    terms_of,
    zeros,
)


@kernel
def march(
    x_ptr,
    w_ptr,
    b_ptr,
    y_ptr,
    m_ptr,
    z_ptr,
    t_ptr,
    D,
    H,
    W,
    groups,
    planes,
    K: tl.constexpr,
    BIAS: tl.constexpr,
    MOMENTS: tl.constexpr,
    TERMS: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
    VEC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Stride 1. A program walks `planes` output planes along D with K rows of output in registers.

    Each value loaded is used K times, for K output planes. Grid: (N x chunks x H, blocks of W,
    blocks of C). With flipped weights this is also the gradient of the input.
    """
    P: tl.constexpr = K // 2
    C = groups * VEC
    pid = tl.program_id(0)
    chunks = (D + planes - 1) // planes
    h = pid % H
    chunk = (pid // H) % chunks
    n = (pid // (H * chunks)).to(tl.int64)
    w = tl.program_id(1) * BW + tl.arange(0, BW)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    first = chunk * planes
    last = tl.minimum(first + planes, D)
    valid = (w < W)[:, None] & (c < C)[None, :]
    width = tl.minimum(W - tl.program_id(1) * BW, BW)
    constant, slope = terms_of(t_ptr, n, c, C, TERMS, BC, ACC)
    mean = tl.zeros([BC], ACC)
    m2 = tl.zeros([BC], ACC)
    count = tl.sum(mean, axis=0)
    if BIAS:
        bias = tl.load(b_ptr + c, mask=c < C, other=0.0).to(ACC)
    acc = zeros(K, BW, BC, ACC)
    for q in range(first - P, last + P):
        for u in range(K):
            line = h + (u - P)
            ok = (q >= 0) & (q < D) & (line >= 0) & (line < H)
            row = (n * D + q) * H + line
            for v in tl.static_range(K):
                column = w + (v - P)
                x = gradient_row(
                    x_ptr, z_ptr, constant, slope, row, column, W, c, C, ok, TERMS, ACC
                )
                new = ()
                for s in tl.static_range(K):
                    # Slot s holds output plane q - P + s, which sees this plane by tap K - 1 - s.
                    new = new + (acc[s] + x * tap_of(w_ptr, ((K - 1 - s) * K + u) * K + v, c, C),)
                acc = new
        o = q - P
        done = (o >= first) & (o < last)
        y = acc[0]
        if BIAS:
            y = y + bias[None, :]
        y = y.to(y_ptr.dtype.element_ty)
        offsets = w[:, None] * C + c[None, :]
        tl.store(y_ptr + ((n * D + o) * H + h) * W * C + offsets, y, mask=valid & done)
        if MOMENTS:
            number = tl.where(done, width, 0).to(ACC)
            mean, m2, count = merge(mean, m2, count, y.to(ACC), valid & done, number)
        rolled = ()
        for s in tl.static_range(1, K):
            rolled = rolled + (acc[s],)
        acc = rolled + (tl.zeros([BW, BC], ACC),)
    if MOMENTS:
        index = pid.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
        store_moments(m_ptr, index, mean, m2, count, c, C)


@kernel
def gather(
    x_ptr,
    w_ptr,
    b_ptr,
    y_ptr,
    m_ptr,
    z_ptr,
    t_ptr,
    D,
    H,
    W,
    OD,
    OH,
    OW,
    groups,
    rows,
    K: tl.constexpr,
    BIAS: tl.constexpr,
    MOMENTS: tl.constexpr,
    TERMS: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
    VEC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Stride 2: (D, H, W) to (OD, OH, OW). A program makes `rows` rows of one output plane.

    Grid: (N x OD x chunks of OH, blocks of OW, blocks of C). It is also the gradient of the input
    of the transposed convolution.
    """
    P: tl.constexpr = K // 2
    C = groups * VEC
    pid = tl.program_id(0)
    chunks = (OH + rows - 1) // rows
    first = (pid % chunks) * rows
    d = (pid // chunks) % OD
    n = (pid // (chunks * OD)).to(tl.int64)
    w = tl.program_id(1) * BW + tl.arange(0, BW)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    valid = (w < OW)[:, None] & (c < C)[None, :]
    width = tl.minimum(OW - tl.program_id(1) * BW, BW)
    constant, slope = terms_of(t_ptr, n, c, C, TERMS, BC, ACC)
    mean = tl.zeros([BC], ACC)
    m2 = tl.zeros([BC], ACC)
    count = tl.sum(mean, axis=0)
    for h in range(first, tl.minimum(first + rows, OH)):
        y = tl.zeros([BW, BC], ACC)
        for t in range(K):
            plane = 2 * d + t - P
            for u in range(K):
                line = 2 * h + (u - P)
                ok = (plane >= 0) & (plane < D) & (line >= 0) & (line < H)
                row = (n * D + plane) * H + line
                for v in tl.static_range(K):
                    column = 2 * w + (v - P)
                    x = gradient_row(
                        x_ptr, z_ptr, constant, slope, row, column, W, c, C, ok, TERMS, ACC
                    )
                    y += x * tap_of(w_ptr, (t * K + u) * K + v, c, C)
        if BIAS:
            y += tl.load(b_ptr + c, mask=c < C, other=0.0).to(ACC)[None, :]
        rounded = y.to(y_ptr.dtype.element_ty)
        offsets = w[:, None] * C + c[None, :]
        tl.store(y_ptr + ((n * OD + d) * OH + h) * OW * C + offsets, rounded, mask=valid)
        if MOMENTS:
            mean, m2, count = merge(mean, m2, count, rounded.to(ACC), valid, width.to(ACC))
    if MOMENTS:
        index = pid.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
        store_moments(m_ptr, index, mean, m2, count, c, C)


@kernel
def scatter(
    x_ptr,
    w_ptr,
    b_ptr,
    y_ptr,
    m_ptr,
    z_ptr,
    t_ptr,
    D,
    H,
    W,
    OD,
    OH,
    OW,
    groups,
    rows,
    K: tl.constexpr,
    BIAS: tl.constexpr,
    MOMENTS: tl.constexpr,
    TERMS: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
    VEC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Transposed, stride 2: (D, H, W) to (OD, OH, OW), each 2n - 1 or 2n voxels.

    Output i sees input (i + P - t) / 2 for the taps t that leave no rest: a program makes an even
    and an odd voxel along W from the same loads. Grid: (N x OD x chunks of OH, blocks of half OW,
    blocks of C). It is also the gradient of the input of the strided convolution.
    """
    P: tl.constexpr = K // 2
    C = groups * VEC
    pid = tl.program_id(0)
    chunks = (OH + rows - 1) // rows
    first = (pid % chunks) * rows
    d = (pid // chunks) % OD
    n = (pid // (chunks * OD)).to(tl.int64)
    start = tl.program_id(1) * BW
    m = start + tl.arange(0, BW)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    constant, slope = terms_of(t_ptr, n, c, C, TERMS, BC, ACC)
    mean = tl.zeros([BC], ACC)
    m2 = tl.zeros([BC], ACC)
    count = tl.sum(mean, axis=0)
    for h in range(first, tl.minimum(first + rows, OH)):
        even = tl.zeros([BW, BC], ACC)
        odd = tl.zeros([BW, BC], ACC)
        for a in range((K + 1) // 2):
            t = (d + P) % 2 + 2 * a
            plane = (d + P - t) // 2
            for b in range((K + 1) // 2):
                u = (h + P) % 2 + 2 * b
                line = (h + P - u) // 2
                ok = (t < K) & (plane >= 0) & (plane < D) & (u < K) & (line >= 0) & (line < H)
                row = (n * D + plane) * H + line
                tap = tl.where(ok, (t * K + u) * K, 0)
                for i in tl.static_range(P + 1):
                    # Input voxel m + i - P // 2 is seen through these taps.
                    column = m + (i - P // 2)
                    x = gradient_row(
                        x_ptr, z_ptr, constant, slope, row, column, W, c, C, ok, TERMS, ACC
                    )
                    if P - 2 * (i - P // 2) >= 0 and P - 2 * (i - P // 2) < K:
                        even += x * tap_of(w_ptr, tap + (P - 2 * (i - P // 2)), c, C)
                    if P + 1 - 2 * (i - P // 2) >= 0 and P + 1 - 2 * (i - P // 2) < K:
                        odd += x * tap_of(w_ptr, tap + (P + 1 - 2 * (i - P // 2)), c, C)
        for parity in tl.static_range(2):
            y = odd if parity else even
            w = 2 * m + parity
            valid = (w < OW)[:, None] & (c < C)[None, :]
            if BIAS:
                y += tl.load(b_ptr + c, mask=c < C, other=0.0).to(ACC)[None, :]
            rounded = y.to(y_ptr.dtype.element_ty)
            offsets = w[:, None] * C + c[None, :]
            tl.store(y_ptr + ((n * OD + d) * OH + h) * OW * C + offsets, rounded, mask=valid)
            if MOMENTS:
                number = tl.minimum(tl.maximum((OW + 1 - parity) // 2 - start, 0), BW).to(ACC)
                mean, m2, count = merge(mean, m2, count, rounded.to(ACC), valid, number)
    if MOMENTS:
        index = pid.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
        store_moments(m_ptr, index, mean, m2, count, c, C)
