/* GELU and its slope, by the exact form: x times the normal distribution's share below x. */
#ifndef MEDNEXT_GELU_H
#define MEDNEXT_GELU_H

#include "vectors.h"

/* The error function within 3e-7: a ratio of polynomials, x P(x^2) / Q(x^2), as Eigen and XLA have
 * it; beyond 4 it is 1 in float32. */
INLINE vec erf_ratio(vec x) {
    x = at_least(at_most(x, 4.0f), -4.0f);
    vec square = x * x;
    vec p = splat(-2.72614225801306e-10f);
    p = p * square + splat(2.77068142495902e-08f);
    p = p * square + splat(-2.10102402082508e-06f);
    p = p * square + splat(-5.69250639462346e-05f);
    p = p * square + splat(-7.34990630326855e-04f);
    p = p * square + splat(-2.95459980854025e-03f);
    p = p * square + splat(-1.60960333262415e-02f);
    vec q = splat(-1.45660718464996e-05f);
    q = q * square + splat(-2.13374055278905e-04f);
    q = q * square + splat(-1.68282697438203e-03f);
    q = q * square + splat(-7.37332916720468e-03f);
    q = q * square + splat(-1.42647390514189e-02f);
    return divide(x * p, q);
}

INLINE vec gelu(vec x) {
    vec half = splat(0.5f) * x;
    return half + half * erf_ratio(x * splat(0.70710678f));
}

/* The normal density, e^(-x^2 / 2) / sqrt(2 pi), relative error 1e-7: 2 to a whole number by the
 * exponent's bits, to the rest by a polynomial. */
INLINE vec density(vec x) {
    vec power = at_least(x * x * splat(-0.72134752f), -125.0f);
    vec rounded = power + splat(12582912.0f); /* 1.5 * 2^23: the whole part in the lowest bits */
    ivec whole = (ivec)rounded - 0x4B400000;
    vec part = power - (rounded - splat(12582912.0f));
    vec sum = splat(1.540353e-4f);
    sum = sum * part + splat(1.33335581e-3f);
    sum = sum * part + splat(9.61812911e-3f);
    sum = sum * part + splat(5.55041087e-2f);
    sum = sum * part + splat(2.40226507e-1f);
    sum = sum * part + splat(6.93147181e-1f);
    sum = sum * part + splat(1.0f);
    return sum * splat(0.39894228f) * (vec)((whole + 127) << 23);
}

/* Overwrites x by GELU(x), and gradient by its product with GELU's slope at x. The slope needs the
 * density, which gives the share below x, too: Abramowitz and Stegun 26.2.17, within 7.5e-8. */
INLINE void gelu_backward(float *x, float *gradient) {
    vec value = load(x), dense = density(value);
    /* Far below there is nothing left, and an infinite divisor would make NaN. */
    vec size = at_most((vec)((ivec)value & 0x7FFFFFFF), 64.0f);
    vec t = divide(splat(1.0f), splat(1.0f) + splat(0.2316419f) * size);
    vec sum = splat(1.330274429f);
    sum = sum * t - splat(1.821255978f);
    sum = sum * t + splat(1.781477937f);
    sum = sum * t - splat(0.356563782f);
    sum = sum * t + splat(0.319381530f);
    vec above = sum * t * dense;
    vec share = choose(value >= splat(0.0f), splat(1.0f) - above, above);
    store(gradient, load(gradient) * (share + value * dense));
    store(x, value * share);
}

#endif
