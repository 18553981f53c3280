/* Depthwise convolutions, and mean and variance of their results. */
#include "vectors.h"

typedef struct {
    const void *image; /* (D, H, W, C) */
    const float *taps; /* (K, K, K, C) */
    const float *bias; /* (C) or NULL */
    const void *added; /* (D', H', W', C) or NULL: a sum that the result of stride 1 or 2 joins */
    void *result; /* (D', H', W', C) */
    double *moments; /* (D', 3, C): of each plane a pivot, and sums of differences from it and of their squares; or NULL */
    ptrdiff_t depth, height, width, out_depth, out_height, out_width, channels;
    ptrdiff_t half; /* image and result are bfloat16 */
} Convolution;

/* The lines of the image that a line of the result sees, each with its taps. */
typedef struct {
    const void *image[49];
    const float *taps[49];
    int count;
} Lines;

typedef struct {
    vec pivot, sum, squares;
} Moments;

INLINE void note(Moments *moments, vec value) {
    vec difference = value - moments->pivot;
    moments->sum += difference;
    moments->squares += difference * difference;
}

INLINE vec bias_of(const Convolution *c, ptrdiff_t channel) {
    return c->bias ? load(c->bias + channel) : splat(0.0f);
}

/* LINE voxels of the result from `start` on; `edge` where some of what they see is outside. */
INLINE void convolve_part(const Convolution *c, const Lines *lines, ptrdiff_t start, vec bias,
                          vec *sums, int kernel, int stride, int edge, int half) {
    UNROLL for (int i = 0; i < LINE; i++) sums[i] = bias;
    for (int line = 0; line < lines->count; line++) {
        vec taps[7];
        UNROLL for (int t = 0; t < kernel; t++) taps[t] = load(lines->taps[line] + t * c->channels);
        ptrdiff_t first = start * stride - kernel / 2;
        UNROLL for (int j = 0; j < (LINE - 1) * stride + kernel; j++) {
            if (edge && (first + j < 0 || first + j >= c->width)) continue;
            vec voxel = load_at(lines->image[line], (first + j) * c->channels, half);
            UNROLL for (int t = 0; t < kernel; t++) {
                int i = j - t;
                if (i >= 0 && i % stride == 0 && i / stride < LINE) sums[i / stride] += voxel * taps[t];
            }
        }
    }
}

INLINE void convolve_line(const Convolution *c, const Lines *lines, ptrdiff_t to, vec bias,
                          Moments *moments, int first_of_plane, int kernel, int stride, int half) {
    for (ptrdiff_t start = 0; start < c->out_width; start += LINE) {
        vec sums[LINE];
        ptrdiff_t last = (start + LINE - 1) * stride + kernel / 2;
        int inside = start * stride >= kernel / 2 && last < c->width;
        if (inside) convolve_part(c, lines, start, bias, sums, kernel, stride, 0, half);
        else convolve_part(c, lines, start, bias, sums, kernel, stride, 1, half);
        if (first_of_plane && start == 0) moments->pivot = sums[0]; /* near enough to the mean */
        ptrdiff_t left = c->out_width - start;
        UNROLL for (int i = 0; i < LINE; i++) {
            if (i >= left) break;
            ptrdiff_t place = to + (start + i) * c->channels;
            if (c->added) sums[i] += load_at(c->added, place, half);
            note(moments, store_at(c->result, place, sums[i], half));
        }
    }
}

INLINE void see_lines(const Convolution *c, Lines *lines, ptrdiff_t depth, ptrdiff_t height,
                      ptrdiff_t channel, int kernel, int stride, int half) {
    lines->count = 0;
    for (int a = 0; a < kernel; a++) for (int b = 0; b < kernel; b++) {
        ptrdiff_t d = depth * stride + a - kernel / 2, h = height * stride + b - kernel / 2;
        if (d < 0 || d >= c->depth || h < 0 || h >= c->height) continue;
        ptrdiff_t place = (d * c->height + h) * c->width * c->channels + channel;
        lines->image[lines->count] = at(c->image, place, half);
        lines->taps[lines->count++] = c->taps + (a * kernel + b) * kernel * c->channels + channel;
    }
}

/* A line's sums in float32 are exact enough; a plane's are in float64. */
INLINE void add_moments(const Convolution *c, ptrdiff_t plane, ptrdiff_t channel, Moments *moments,
                        int first_of_plane) {
    double *of_plane = c->moments + plane * 3 * c->channels + channel;
    for (int lane = 0; lane < LANES; lane++) {
        double *sum = of_plane + c->channels + lane, *squares = sum + c->channels;
        if (first_of_plane) {
            of_plane[lane] = moments->pivot[lane];
            *sum = *squares = 0.0;
        }
        *sum += moments->sum[lane];
        *squares += moments->squares[lane];
    }
    moments->sum = moments->squares = splat(0.0f);
}

INLINE vec pivot_of(const Convolution *c, ptrdiff_t plane, ptrdiff_t channel) {
    vec pivot = splat(0.0f);
    const double *from = c->moments + plane * 3 * c->channels + channel;
    UNROLL for (int lane = 0; lane < LANES; lane++) pivot[lane] = (float)from[lane];
    return pivot;
}

INLINE void convolve(const Convolution *c, ptrdiff_t begin, ptrdiff_t end, int kernel, int stride,
                     int half) {
    for (ptrdiff_t d = begin; d < end; d++) for (ptrdiff_t h = 0; h < c->out_height; h++)
        for (ptrdiff_t channel = 0; channel < c->channels; channel += LANES) {
            Lines lines;
            Moments moments = {{0}, {0}, {0}};
            see_lines(c, &lines, d, h, channel, kernel, stride, half);
            if (c->moments && h > 0) moments.pivot = pivot_of(c, d, channel);
            ptrdiff_t to = (d * c->out_height + h) * c->out_width * c->channels + channel;
            convolve_line(c, &lines, to, bias_of(c, channel), &moments, h == 0, kernel, stride, half);
            if (c->moments) add_moments(c, d, channel, &moments, h == 0);
        }
}

#define CONVOLUTION(kernel, stride)                                                                \
    EXPORT void mednext_depthwise_k##kernel##_s##stride(const Convolution *c, ptrdiff_t begin,     \
                                                        ptrdiff_t end) {                           \
        if (c->half) convolve(c, begin, end, kernel, stride, 1);                                   \
        else convolve(c, begin, end, kernel, stride, 0);                                           \
    }

/* Planes `begin` to `end` of the result, padded by half the kernel. */
CONVOLUTION(3, 1)
CONVOLUTION(5, 1)
CONVOLUTION(7, 1)
CONVOLUTION(3, 2)
CONVOLUTION(5, 2)
CONVOLUTION(7, 2)

/* ---- Transposed with stride 2: n voxels to 2 n - 1, or to 2 n as the gradient of a strided one --- */

/* Along an axis, voxel o of the result gathers voxel (o + kernel / 2 - t) / 2 by tap t, where that
 * is whole: taps of one parity make the even voxels of the result, those of the other the odd ones.
 */
INLINE void gather_lines(const Convolution *c, Lines *lines, ptrdiff_t depth, ptrdiff_t height,
                         ptrdiff_t channel, int kernel, int half) {
    lines->count = 0;
    for (int a = 0; a < kernel; a++) for (int b = 0; b < kernel; b++) {
        ptrdiff_t d = depth + kernel / 2 - a, h = height + kernel / 2 - b;
        if (d % 2 || h % 2 || d < 0 || h < 0 || d / 2 >= c->depth || h / 2 >= c->height) continue;
        ptrdiff_t place = (d / 2 * c->height + h / 2) * c->width * c->channels + channel;
        lines->image[lines->count] = at(c->image, place, half);
        lines->taps[lines->count++] = c->taps + (a * kernel + b) * kernel * c->channels + channel;
    }
}

/* Every second voxel of the result, LINE of them from `start` on: the even or the odd ones. */
INLINE void gather_part(const Convolution *c, const Lines *lines, ptrdiff_t start, vec bias,
                        vec *sums, int kernel, int odd, int edge, int half) {
    UNROLL for (int i = 0; i < LINE; i++) sums[i] = bias;
    for (int line = 0; line < lines->count; line++)
        UNROLL for (int t = (kernel / 2 + odd) % 2; t < kernel; t += 2) {
            vec tap = load(lines->taps[line] + t * c->channels);
            ptrdiff_t first = (start + odd + kernel / 2 - t) / 2;
            UNROLL for (int i = 0; i < LINE; i++) {
                if (edge && (first + i < 0 || first + i >= c->width)) continue;
                sums[i] += tap * load_at(lines->image[line], (first + i) * c->channels, half);
            }
        }
}

INLINE void gather_line(const Convolution *c, const Lines *lines, ptrdiff_t to, vec bias,
                        Moments *moments, int first_of_plane, int kernel, int half) {
    for (ptrdiff_t start = 0; start < c->out_width; start += 2 * LINE)
        UNROLL for (int odd = 0; odd < 2; odd++) {
            vec sums[LINE];
            int inside = start >= kernel && start / 2 + LINE + kernel < c->width;
            if (inside) gather_part(c, lines, start, bias, sums, kernel, odd, 0, half);
            else gather_part(c, lines, start, bias, sums, kernel, odd, 1, half);
            if (first_of_plane && start + odd == 0) moments->pivot = sums[0];
            UNROLL for (int i = 0; i < LINE; i++) {
                ptrdiff_t place = start + 2 * i + odd;
                if (place >= c->out_width) break;
                note(moments, store_at(c->result, to + place * c->channels, sums[i], half));
            }
        }
}

INLINE void gather(const Convolution *c, ptrdiff_t begin, ptrdiff_t end, int kernel, int half) {
    for (ptrdiff_t d = begin; d < end; d++) for (ptrdiff_t h = 0; h < c->out_height; h++)
        for (ptrdiff_t channel = 0; channel < c->channels; channel += LANES) {
            Lines lines;
            Moments moments = {{0}, {0}, {0}};
            gather_lines(c, &lines, d, h, channel, kernel, half);
            if (c->moments && h > 0) moments.pivot = pivot_of(c, d, channel);
            ptrdiff_t to = (d * c->out_height + h) * c->out_width * c->channels + channel;
            gather_line(c, &lines, to, bias_of(c, channel), &moments, h == 0, kernel, half);
            if (c->moments) add_moments(c, d, channel, &moments, h == 0);
        }
}

#define TRANSPOSED(kernel)                                                                         \
    EXPORT void mednext_transposed_k##kernel(const Convolution *c, ptrdiff_t begin, ptrdiff_t end) { \
        if (c->half) gather(c, begin, end, kernel, 1);                                             \
        else gather(c, begin, end, kernel, 0);                                                     \
    }

TRANSPOSED(3)
TRANSPOSED(5)
TRANSPOSED(7)
