/* The norm as x s + t in the expansion, its statistics, and the gradients of its and all weights.
 *
 * W (x s + t) + b = (W s) x + (W t + b), for each sample and channel. All this is as large as the
 * weights or smaller, and would be dozens of operators for PyTorch: a quarter of a narrow block's time.
 */
#include <math.h>

#include "vectors.h"

/* Mean and variance of all planes, of what the convolutions note of each. */
typedef struct {
    const double *moments; /* (planes, 3, channels): see Convolution */
    double *mean, *variance; /* (channels) */
    ptrdiff_t planes, voxels, channels; /* voxels of a plane */
} Statistics;

EXPORT void mednext_statistics(const Statistics *s) {
    double voxels = (double)s->voxels, planes = (double)s->planes;
    for (ptrdiff_t c = 0; c < s->channels; c++) {
        double mean = 0.0, within = 0.0, between = 0.0;
        for (ptrdiff_t plane = 0; plane < s->planes; plane++) {
            const double *of_plane = s->moments + plane * 3 * s->channels + c;
            double total = of_plane[s->channels], squares = of_plane[2 * s->channels];
            mean += (of_plane[0] + total / voxels) / planes;
            within += squares - total * total / voxels;
        }
        for (ptrdiff_t plane = 0; plane < s->planes; plane++) {
            const double *of_plane = s->moments + plane * 3 * s->channels + c;
            double apart = of_plane[0] + of_plane[s->channels] / voxels - mean;
            between += apart * apart / planes;
        }
        double variance = within / (voxels * planes) + between;
        s->mean[c] = mean;
        s->variance[c] = variance < 0.0 ? 0.0 : variance;
    }
}

typedef struct {
    const float *weight, *bias; /* (channels) */
    const double *mean, *variance; /* (channels) */
    const double *epsilon; /* one value */
} Norm;

INLINE double deviation_of(const Norm *n, ptrdiff_t c) { return 1.0 / sqrt(n->variance[c] + *n->epsilon); }

/* A matrix is turned by squares of vectors, which stay in the cache. */
typedef struct {
    float values[LANES][LANES];
} Square;

INLINE void turn(const Square *from, float *to, ptrdiff_t columns, int added) {
    for (int column = 0; column < LANES; column++) {
        vec line = splat(0.0f);
        UNROLL for (int row = 0; row < LANES; row++) line[row] = from->values[row][column];
        float *place = to + column * columns;
        if (added) line += load(place);
        store(place, line);
    }
}

typedef struct {
    Norm norm;
    const float *expand; /* (hidden, channels) */
    const float *expand_bias; /* (hidden) */
    const float *compress; /* (out, hidden) */
    float *weight; /* (channels, hidden), to be filled as the next three */
    float *bias; /* (hidden) */
    float *down; /* (hidden, out) or NULL */
    float *line; /* (2, channels): scale and shift */
    ptrdiff_t channels, hidden, out;
} Fold;

INLINE void fold_square(const Fold *f, ptrdiff_t h, ptrdiff_t c) {
    Square square;
    vec scale = load(f->line + c), shift = load(f->line + f->channels + c);
    for (int i = 0; i < LANES; i++) {
        vec weight = load(f->expand + (h + i) * f->channels + c), shifted = weight * shift;
        store(square.values[i], weight * scale);
        float sum = 0.0f;
        UNROLL for (int lane = 0; lane < LANES; lane++) sum += shifted[lane];
        f->bias[h + i] += sum;
    }
    turn(&square, f->weight + c * f->hidden + h, f->hidden, 0);
}

EXPORT void mednext_fold(const Fold *f) {
    for (ptrdiff_t c = 0; c < f->channels; c++) {
        double scale = f->norm.weight[c] * deviation_of(&f->norm, c);
        f->line[c] = (float)scale;
        f->line[f->channels + c] = (float)(f->norm.bias[c] - f->norm.mean[c] * scale);
    }
    for (ptrdiff_t h = 0; h < f->hidden; h += LANES) {
        store(f->bias + h, load(f->expand_bias + h));
        for (ptrdiff_t c = 0; c < f->channels; c += LANES) fold_square(f, h, c);
        if (f->down) for (ptrdiff_t o = 0; o < f->out; o += LANES) {
            Square square;
            for (int i = 0; i < LANES; i++) store(square.values[i], load(f->compress + (o + i) * f->hidden + h));
            turn(&square, f->down + h * f->out + o, f->out, 0);
        }
    }
}

/* With e the expansion's result: sums G of x times e's gradient and B of e's gradient give W's
 * gradient as s G + t B, that of s as W G and that of t as W B. */
typedef struct {
    Norm norm;
    const float *expand; /* (hidden, channels) */
    float *sums; /* (parts, ...), see BottleneckBackward; the first becomes the sum of all */
    float *norm_gradient, *norm_bias_gradient; /* (channels): added to, as the next four */
    float *expand_gradient; /* (hidden, channels) */
    float *expand_bias_gradient; /* (hidden) */
    float *compress_gradient; /* (out, hidden) */
    float *compress_bias_gradient; /* (out) */
    float *scale, *slope, *constant; /* (channels), to be filled: see mednext_line */
    ptrdiff_t parts, voxels, channels, hidden, out;
} Finish;

INLINE void add_parts(const Finish *f, ptrdiff_t size) {
    for (ptrdiff_t part = 1; part < f->parts; part++)
        for (ptrdiff_t i = 0; i < size; i++) f->sums[i] += f->sums[part * size + i];
}

/* A square of W's gradient, and what it gives those of s and t. */
INLINE void finish_square(const Finish *f, ptrdiff_t h, ptrdiff_t c, vec *of_scale, vec *of_shift) {
    Square square;
    const float *bias = f->sums + f->channels * f->hidden + h;
    for (int i = 0; i < LANES; i++) store(square.values[i], load(f->sums + (c + i) * f->hidden + h));
    vec scale = load(f->scale + c), shift = load(f->slope + c);
    for (int i = 0; i < LANES; i++) {
        ptrdiff_t place = (h + i) * f->channels + c;
        vec outer, weight = load(f->expand + place);
        UNROLL for (int lane = 0; lane < LANES; lane++) outer[lane] = square.values[lane][i];
        *of_scale += weight * outer;
        *of_shift += weight * splat(bias[i]);
        float *to = f->expand_gradient + place;
        store(to, load(to) + outer * scale + splat(bias[i]) * shift);
    }
}

INLINE void finish_channel(const Finish *f, ptrdiff_t c, double of_scale, double of_shift) {
    double deviation = deviation_of(&f->norm, c), scale = f->norm.weight[c] * deviation;
    of_scale -= of_shift * f->norm.mean[c];
    f->norm_gradient[c] += (float)(of_scale * deviation);
    f->norm_bias_gradient[c] += (float)of_shift;
    double of_variance = of_scale * f->norm.weight[c] * deviation * deviation * deviation / -2.0;
    double line = 2.0 * of_variance / (double)f->voxels;
    f->slope[c] = (float)line;
    f->constant[c] = (float)(-of_shift * scale / (double)f->voxels - line * f->norm.mean[c]);
}

EXPORT void mednext_finish(const Finish *f) {
    add_parts(f, (f->channels + 1) * f->hidden + (f->hidden + 1) * f->out);
    const float *bias = f->sums + f->channels * f->hidden, *inner = bias + f->hidden;
    const float *last = inner + f->hidden * f->out;
    for (ptrdiff_t c = 0; c < f->channels; c++) { /* the norm's shift is where the slope will be */
        double scale = f->norm.weight[c] * deviation_of(&f->norm, c);
        f->scale[c] = (float)scale;
        f->slope[c] = (float)(f->norm.bias[c] - f->norm.mean[c] * scale);
    }
    for (ptrdiff_t c = 0; c < f->channels; c += LANES) {
        vec of_scale = splat(0.0f), of_shift = splat(0.0f);
        for (ptrdiff_t h = 0; h < f->hidden; h += LANES) finish_square(f, h, c, &of_scale, &of_shift);
        for (int lane = 0; lane < LANES; lane++) finish_channel(f, c + lane, of_scale[lane], of_shift[lane]);
    }
    for (ptrdiff_t h = 0; h < f->hidden; h++) f->expand_bias_gradient[h] += bias[h];
    for (ptrdiff_t h = 0; h < f->hidden; h += LANES) for (ptrdiff_t o = 0; o < f->out; o += LANES) {
        Square square;
        for (int i = 0; i < LANES; i++) store(square.values[i], load(inner + (h + i) * f->out + o));
        turn(&square, f->compress_gradient + o * f->hidden + h, f->hidden, 1);
    }
    for (ptrdiff_t o = 0; o < f->out; o++) f->compress_bias_gradient[o] += last[o];
}
