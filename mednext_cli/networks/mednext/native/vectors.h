/* Blocks of MedNeXt on a CPU, computed in float32; called through ctypes, without Python or PyTorch.
 *
 * Images and rows are float32 or, where `half` says so, bfloat16; weights and sums are float32.
 *
 * Arrays are dense, the channels last: (D, H, W, C), a voxel's channels beside each other. A vector
 * holds LANES channels of one voxel, so all channel counts are multiples of LANES. The files are
 * compiled once for each width of vector (setup/build_native.py); GCC and Clang know its vectors.
 *
 * Nothing here allocates, keeps a state or knows of threads: the caller shares planes and rows out,
 * and since every plane and row is computed alike wherever it is, so are the results.
 */
#ifndef MEDNEXT_VECTORS_H
#define MEDNEXT_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#ifndef LANES
#define LANES 4
#endif
#ifndef STAMP /* CRC-32 of all these files, as they were compiled */
#define STAMP 0
#endif

/* Results at once, so many that the units for fused multiply-adds never wait for each other. */
#if LANES == 16 /* 32 registers */
#define TILE_ROWS 12
#define LINE 12
#else /* 16 registers */
#define TILE_ROWS 6
#define LINE 8
#endif

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef uint16_t hvec __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))
#define UNROLL _Pragma("GCC unroll 16")
#define EXPORT __attribute__((visibility("default")))

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec value) { *(vec *)to = value; }
INLINE vec splat(float value) { return value - (vec){0}; }
INLINE vec choose(ivec which, vec yes, vec no) {
    return (vec)(((ivec)yes & which) | ((ivec)no & ~which));
}

/* The lesser and the greater of x and a limit; NaN stays NaN. Division within a unit of the last
 * place, of finite numbers: a divider takes as long as five multiply-adds. */
#if defined(__AVX512F__) && LANES == 16
INLINE vec at_most(vec x, float limit) {
    return (vec)_mm512_min_ps((__m512)splat(limit), (__m512)x);
}
INLINE vec at_least(vec x, float limit) {
    return (vec)_mm512_max_ps((__m512)splat(limit), (__m512)x);
}
INLINE vec divide(vec from, vec by) {
    vec inverse = (vec)_mm512_rcp14_ps((__m512)by), ratio = from * inverse;
    return ratio + (from - by * ratio) * inverse;
}
#else
INLINE vec at_most(vec x, float limit) { return choose(x > splat(limit), splat(limit), x); }
INLINE vec at_least(vec x, float limit) { return choose(x < splat(limit), splat(limit), x); }
INLINE vec divide(vec from, vec by) { return from / by; }
#endif

/* bfloat16 is the upper half of a float32. Rounded to the nearest, halfway to even; NaN stays NaN.
 * The instruction makes a pass with GELU a quarter shorter, and zeros of what is below 1.2e-38. */
#if defined(__AVX512BF16__) && LANES == 16
INLINE hvec upper(vec value) { return (hvec)_mm512_cvtneps_pbh((__m512)value); }
#else
INLINE hvec upper(vec value) {
    uvec bits = (uvec)value, rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    rounded = (uvec)choose(value == value, (vec)rounded, (vec)((uvec){0} + 0x7FC0));
    return __builtin_convertvector(rounded, hvec);
}
#endif

INLINE vec from_upper(hvec uppers) { return (vec)(__builtin_convertvector(uppers, uvec) << 16); }

/* A place in float32 values, or in bfloat16 ones. */
INLINE const void *at(const void *from, ptrdiff_t place, int half) {
    return (const char *)from + place * (half ? 2 : 4);
}

INLINE vec load_at(const void *from, ptrdiff_t place, int half) {
    if (!half) return load((const float *)from + place);
    return from_upper(*(const hvec *)((const uint16_t *)from + place));
}

/* Gives what is there then: the value, or the one that it was rounded to. */
INLINE vec store_at(void *to, ptrdiff_t place, vec value, int half) {
    if (!half) {
        store((float *)to + place, value);
        return value;
    }
    hvec uppers = upper(value);
    *(hvec *)((uint16_t *)to + place) = uppers;
    return from_upper(uppers);
}

#endif
