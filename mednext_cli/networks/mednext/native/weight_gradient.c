/* Gradients of the taps of depthwise convolutions.
 *
 * Tap t has the sum over the voxels i of the small grid of small[i] * large[stride * i + t - K / 2]:
 * of a convolution small is the gradient of the result, of a transposed one it is the image. The
 * taps of one plane of the kernel are summed in registers along a line, ROWS of its rows at once.
 */
#include "vectors.h"

typedef struct {
    const float *large; /* (D, H, W, C) */
    const float *small; /* (D', H', W', C) */
    float *sums; /* (parts, K, K, K, C), to be filled */
    ptrdiff_t depth, height, width, small_depth, small_height, small_width, channels;
    ptrdiff_t of_part; /* planes of the small grid */
} Taps;

INLINE void add_voxel(const Taps *t, const float *const *large, const float *small, vec *sums,
                      ptrdiff_t voxel, int rows, int kernel, int stride, int edge) {
    vec value = load(small + voxel * t->channels);
    ptrdiff_t first = voxel * stride - kernel / 2;
    UNROLL for (int row = 0; row < rows; row++) UNROLL for (int tap = 0; tap < kernel; tap++) {
        if (edge && (first + tap < 0 || first + tap >= t->width)) continue;
        sums[row * kernel + tap] += value * load(large[row] + (first + tap) * t->channels);
    }
}

INLINE void add_line(const Taps *t, const float *const *large, const float *small, vec *sums,
                     int rows, int kernel, int stride) {
    ptrdiff_t voxel = 0, begin = (kernel / 2 + stride - 1) / stride;
    ptrdiff_t last = t->width - 1 - kernel / 2, end = last < 0 ? 0 : last / stride + 1;
    if (end > t->small_width) end = t->small_width;
    for (; voxel < begin && voxel < t->small_width; voxel++)
        add_voxel(t, large, small, sums, voxel, rows, kernel, stride, 1);
    for (; voxel < end; voxel++) add_voxel(t, large, small, sums, voxel, rows, kernel, stride, 0);
    for (; voxel < t->small_width; voxel++)
        add_voxel(t, large, small, sums, voxel, rows, kernel, stride, 1);
}

/* `rows` rows of the kernel from `first` on, in its plane `plane`, as far as their lines are there. */
INLINE void add_rows_of_kernel(const Taps *t, ptrdiff_t depth, ptrdiff_t height, const float *small,
                               ptrdiff_t channel, int plane, int first, int rows, int kernel, int stride) {
    const float *lines[7];
    int which[7], count = 0;
    for (int row = first; row < first + rows && row < kernel; row++) {
        ptrdiff_t h = height * stride + row - kernel / 2;
        if (h < 0 || h >= t->height) continue;
        lines[count] = t->large + (depth * t->height + h) * t->width * t->channels + channel;
        which[count++] = row;
    }
    vec sums[10];
    UNROLL for (int i = 0; i < rows * kernel; i++) sums[i] = splat(0.0f);
    if (count == rows) add_line(t, lines, small, sums, rows, kernel, stride);
    else for (int i = 0; i < count; i++) add_line(t, lines + i, small, sums + i * kernel, 1, kernel, stride);
    for (int i = 0; i < count; i++) for (int tap = 0; tap < kernel; tap++) {
        float *to = t->sums + ((plane * kernel + which[i]) * kernel + tap) * t->channels + channel;
        store(to, load(to) + sums[i * kernel + tap]);
    }
}

INLINE void add_planes(const Taps *t, ptrdiff_t begin, ptrdiff_t end, int kernel, int stride, int rows) {
    for (ptrdiff_t d = begin; d < end; d++) for (ptrdiff_t h = 0; h < t->small_height; h++)
        for (ptrdiff_t channel = 0; channel < t->channels; channel += LANES) {
            const float *small = t->small + (d * t->small_height + h) * t->small_width * t->channels + channel;
            for (int plane = 0; plane < kernel; plane++) {
                ptrdiff_t depth = d * stride + plane - kernel / 2;
                if (depth < 0 || depth >= t->depth) continue;
                for (int first = 0; first < kernel; first += rows)
                    add_rows_of_kernel(t, depth, h, small, channel, plane, first, rows, kernel, stride);
            }
        }
}

/* Parts `begin` to `end` of the small grid's planes. */
INLINE void add_parts(const Taps *t, ptrdiff_t begin, ptrdiff_t end, int kernel, int stride, int rows) {
    ptrdiff_t size = kernel * kernel * kernel * t->channels;
    for (ptrdiff_t part = begin; part < end; part++) {
        Taps one = *t;
        one.sums += part * size;
        for (ptrdiff_t i = 0; i < size; i += LANES) store(one.sums + i, splat(0.0f));
        ptrdiff_t first = part * t->of_part, left = t->small_depth - first;
        add_planes(&one, first, first + (left < t->of_part ? left : t->of_part), kernel, stride, rows);
    }
}

/* As many rows of a kernel at once as leave enough registers: their sums must not leave them. */
#define GRADIENT(kernel, stride, rows)                                                             \
    EXPORT void mednext_weight_gradient_k##kernel##_s##stride(const Taps *t, ptrdiff_t begin,      \
                                                              ptrdiff_t end) {                     \
        add_parts(t, begin, end, kernel, stride, rows);                                            \
    }

GRADIENT(3, 1, 3)
GRADIENT(5, 1, 2)
GRADIENT(7, 1, 1)
GRADIENT(3, 2, 3)
GRADIENT(5, 2, 2)
GRADIENT(7, 2, 1)
