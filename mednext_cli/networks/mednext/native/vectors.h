/* Blocks of MedNeXt on a CPU, in float32; called through ctypes, without Python or PyTorch.
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

#endif
