"""GELU inside the block's kernels, as Triton functions.

In half precision the normal distribution function is a tanh of an odd polynomial: six instructions,
one of them the GPU's own tanh, where erf has about 36. The coefficients are fitted here (least
greatest error of GELU): at most 2.8e-4 off, and the instruction's own error (2^-11 of tanh) adds
2.5e-4 for each unit of the argument; bfloat16 rounds values near 1 by up to 2e-3. float32 keeps
erf.
"""

import triton
import triton.language as tl


@triton.jit
def _tanh(p, GELU: tl.constexpr):
    if GELU == "tanh":
        t = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [p], dtype=tl.float32, is_pure=True, pack=1
        )
    else:  # the interpreter has no instructions
        below = tl.exp(-2.0 * tl.abs(p))
        t = tl.where(p < 0.0, below - 1.0, 1.0 - below) / (1.0 + below)
    return t


@triton.jit
def distribution(e, GELU: tl.constexpr):
    """The standard normal distribution function, by "erf", "tanh" or "interpreted" tanh."""
    if GELU == "erf":
        below = 0.5 * (1.0 + tl.math.erf(e * 0.7071067811865476))
    else:
        below = 0.5 + 0.5 * _tanh(e * (0.80010106 + 0.03472647 * (e * e)), GELU)
    return below


@triton.jit
def gelu_slope(e, below):
    """Derivative of GELU at e, where the distribution function is `below`."""
    return below + e * tl.exp(-0.5 * e * e) * 0.3989422804014327
