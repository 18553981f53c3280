/* Blocks of MedNeXt on a CPU, in float32; called through ctypes, without Python or PyTorch.
 *
 * Arrays are dense, the channels last: (D, H, W, C), a voxel's channels beside each other. A vector
 * holds LANES channels of one voxel, so all channel counts are multiples of LANES. The file is
 * compiled once for each width of vector (setup/build_native.py); GCC and Clang know its vectors.
 *
 * Nothing here allocates, keeps a state or knows of threads: the caller shares planes and rows out,
 * and since every plane and row is computed alike wherever it is, so are the results.
 */
#include <stddef.h>
#include <stdint.h>

#ifndef LANES
#define LANES 4
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

EXPORT int mednext_lanes(void) { return LANES; }

/* ---- GELU: x times the normal distribution's share below x ------------------------------------ */

/* The error function within 3e-7: a ratio of polynomials, x P(x^2) / Q(x^2), as Eigen and XLA have
 * it; beyond 4 it is 1 in float32. */
INLINE vec erf_ratio(vec x) {
    x = choose(x > splat(4.0f), splat(4.0f), x);
    x = choose(x < splat(-4.0f), splat(-4.0f), x);
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
    return x * p / q;
}

INLINE vec gelu(vec x) {
    vec half = splat(0.5f) * x;
    return half + half * erf_ratio(x * splat(0.70710678f));
}

/* ---- Norm, expansion, GELU, compression and residual of rows of voxels ------------------------- */

typedef struct {
    const float *from; /* (rows, inner) */
    const float *weight; /* (inner, columns) */
    const float *bias; /* (columns) */
    const float *added; /* (rows, columns) or NULL */
    float *to; /* (rows, columns) */
    ptrdiff_t inner, columns;
} Product;

/* `rows` by `vectors` results in registers: from * weight + bias, then GELU or the residual. */
INLINE void multiply_tile(const Product *p, ptrdiff_t row, ptrdiff_t column, int activated, int rows,
                          int vectors) {
    vec sums[TILE_ROWS][2];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++)
        sums[i][j] = load(p->bias + column + j * LANES);
    const float *from = p->from + row * p->inner, *weight = p->weight + column;
    for (ptrdiff_t k = 0; k < p->inner; k++, weight += p->columns) {
        vec factors[2];
        UNROLL for (int j = 0; j < vectors; j++) factors[j] = load(weight + j * LANES);
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++)
            sums[i][j] += from[i * p->inner + k] * factors[j];
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++) {
        ptrdiff_t place = (row + i) * p->columns + column + j * LANES;
        vec value = activated ? gelu(sums[i][j]) : sums[i][j];
        if (!activated && p->added) value += load(p->added + place);
        store(p->to + place, value);
    }
}

#define TILES(name, activated)                                                                     \
    APART void name##_wide(const Product *p, ptrdiff_t row, ptrdiff_t column) {                    \
        multiply_tile(p, row, column, activated, TILE_ROWS, 2);                                    \
    }                                                                                              \
    APART void name##_narrow(const Product *p, ptrdiff_t row, ptrdiff_t column) {                  \
        multiply_tile(p, row, column, activated, TILE_ROWS, 1);                                    \
    }                                                                                              \
    APART void name##_last(const Product *p, ptrdiff_t row, ptrdiff_t column) {                    \
        multiply_tile(p, row, column, activated, 1, 1);                                            \
    }                                                                                              \
    static void name(const Product *p, ptrdiff_t rows) {                                           \
        ptrdiff_t whole = rows - rows % TILE_ROWS, column = 0;                                     \
        for (; column + 2 * LANES <= p->columns; column += 2 * LANES)                              \
            for (ptrdiff_t row = 0; row < whole; row += TILE_ROWS) name##_wide(p, row, column);    \
        for (; column < p->columns; column += LANES)                                               \
            for (ptrdiff_t row = 0; row < whole; row += TILE_ROWS) name##_narrow(p, row, column);  \
        for (ptrdiff_t row = whole; row < rows; row++)                                             \
            for (column = 0; column < p->columns; column += LANES) name##_last(p, row, column);    \
    }

TILES(expand, 1)
TILES(compress, 0)

/* compress(gelu(expand(x))) + added, a piece of rows at a time that stays in the cache.
 *
 * x (rows, channels), expand_weight (channels, hidden), compress_weight (hidden, out), added and y
 * (rows, out), scratch (piece, hidden). y may be x, or added, where the shapes are the same.
 */
EXPORT void mednext_bottleneck(const float *x, const float *expand_weight, const float *expand_bias,
                               const float *compress_weight, const float *compress_bias,
                               const float *added, float *y, float *scratch, ptrdiff_t rows,
                               ptrdiff_t piece, ptrdiff_t channels, ptrdiff_t hidden, ptrdiff_t out) {
    for (ptrdiff_t row = 0; row < rows; row += piece) {
        ptrdiff_t some = rows - row < piece ? rows - row : piece;
        Product up = {x + row * channels, expand_weight, expand_bias, NULL, scratch, channels, hidden};
        Product down = {scratch,       compress_weight, compress_bias, added ? added + row * out : NULL,
                        y + row * out, hidden,          out};
        expand(&up, some);
        compress(&down, some);
    }
}

/* ---- Depthwise convolution, and its mean and variance ------------------------------------------ */

typedef struct {
    const float *image; /* (D, H, W, C) */
    const float *taps; /* (K, K, K, C) */
    const float *bias; /* (C) */
    float *result; /* (D', H', W', C) */
    double *moments; /* (D', 3, C): of each plane a pivot, and sums of differences and squares */
    ptrdiff_t depth, height, width, out_depth, out_height, out_width, channels;
} Convolution;

/* The lines of the image that a line of the result sees, each with its taps. */
typedef struct {
    const float *image[49], *taps[49];
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

/* LINE voxels of the result from `start` on; `edge` where some of what they see is outside. */
INLINE void convolve_part(const Convolution *c, const Lines *lines, ptrdiff_t start, vec bias,
                          vec *sums, int kernel, int stride, int edge) {
    UNROLL for (int i = 0; i < LINE; i++) sums[i] = bias;
    for (int line = 0; line < lines->count; line++) {
        vec taps[7];
        UNROLL for (int t = 0; t < kernel; t++) taps[t] = load(lines->taps[line] + t * c->channels);
        ptrdiff_t first = start * stride - kernel / 2;
        UNROLL for (int j = 0; j < (LINE - 1) * stride + kernel; j++) {
            if (edge && (first + j < 0 || first + j >= c->width)) continue;
            vec voxel = load(lines->image[line] + (first + j) * c->channels);
            UNROLL for (int t = 0; t < kernel; t++) {
                int i = j - t;
                if (i >= 0 && i % stride == 0 && i / stride < LINE) sums[i / stride] += voxel * taps[t];
            }
        }
    }
}

INLINE void convolve_line(const Convolution *c, const Lines *lines, float *to, vec bias,
                          Moments *moments, int first_of_plane, int kernel, int stride) {
    for (ptrdiff_t start = 0; start < c->out_width; start += LINE) {
        vec sums[LINE];
        int half = kernel / 2;
        ptrdiff_t last = (start + LINE - 1) * stride + half;
        int inside = start * stride >= half && last < c->width;
        if (inside) convolve_part(c, lines, start, bias, sums, kernel, stride, 0);
        else convolve_part(c, lines, start, bias, sums, kernel, stride, 1);
        if (first_of_plane && start == 0) moments->pivot = sums[0];
        ptrdiff_t left = c->out_width - start;
        UNROLL for (int i = 0; i < LINE; i++) {
            if (i >= left) break;
            store(to + (start + i) * c->channels, sums[i]);
            note(moments, sums[i]);
        }
    }
}

INLINE void see_lines(const Convolution *c, Lines *lines, ptrdiff_t depth, ptrdiff_t height,
                      ptrdiff_t channel, int kernel, int stride) {
    lines->count = 0;
    for (int a = 0; a < kernel; a++) for (int b = 0; b < kernel; b++) {
        ptrdiff_t d = depth * stride + a - kernel / 2, h = height * stride + b - kernel / 2;
        if (d < 0 || d >= c->depth || h < 0 || h >= c->height) continue;
        lines->image[lines->count] = c->image + (d * c->height + h) * c->width * c->channels + channel;
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

INLINE void convolve(const Convolution *c, ptrdiff_t begin, ptrdiff_t end, int kernel, int stride) {
    for (ptrdiff_t d = begin; d < end; d++) for (ptrdiff_t h = 0; h < c->out_height; h++)
        for (ptrdiff_t channel = 0; channel < c->channels; channel += LANES) {
            Lines lines;
            Moments moments = {{0}, {0}, {0}};
            see_lines(c, &lines, d, h, channel, kernel, stride);
            if (h > 0) {
                double *pivot = c->moments + d * 3 * c->channels + channel;
                UNROLL for (int lane = 0; lane < LANES; lane++) moments.pivot[lane] = (float)pivot[lane];
            }
            float *to = c->result + (d * c->out_height + h) * c->out_width * c->channels + channel;
            convolve_line(c, &lines, to, load(c->bias + channel), &moments, h == 0, kernel, stride);
            add_moments(c, d, channel, &moments, h == 0);
        }
}

#define CONVOLUTION(kernel, stride)                                                                \
    EXPORT void mednext_depthwise_k##kernel##_s##stride(const Convolution *c, ptrdiff_t begin,     \
                                                        ptrdiff_t end) {                           \
        convolve(c, begin, end, kernel, stride);                                                   \
    }

/* Planes `begin` to `end` of the result, padded by half the kernel. */
CONVOLUTION(3, 1)
CONVOLUTION(5, 1)
CONVOLUTION(7, 1)
CONVOLUTION(3, 2)
CONVOLUTION(5, 2)
CONVOLUTION(7, 2)

/* ---- Transposed depthwise convolution with stride 2: n voxels to 2 n - 1 ------------------------ */

/* Along an axis, voxel o of the result gathers voxel (o + kernel / 2 - t) / 2 by tap t, where that
 * is whole: taps of one parity make the even voxels of the result, those of the other the odd ones.
 */
INLINE void gather_lines(const Convolution *c, Lines *lines, ptrdiff_t depth, ptrdiff_t height,
                         ptrdiff_t channel, int kernel) {
    lines->count = 0;
    for (int a = 0; a < kernel; a++) for (int b = 0; b < kernel; b++) {
        ptrdiff_t d = depth + kernel / 2 - a, h = height + kernel / 2 - b;
        if (d % 2 || h % 2 || d < 0 || h < 0 || d / 2 >= c->depth || h / 2 >= c->height) continue;
        lines->image[lines->count] =
            c->image + (d / 2 * c->height + h / 2) * c->width * c->channels + channel;
        lines->taps[lines->count++] = c->taps + (a * kernel + b) * kernel * c->channels + channel;
    }
}

/* Every second voxel of the result, LINE of them from `start` on: the even or the odd ones. */
INLINE void gather_part(const Convolution *c, const Lines *lines, ptrdiff_t start, vec bias,
                        vec *sums, int kernel, int odd, int edge) {
    UNROLL for (int i = 0; i < LINE; i++) sums[i] = bias;
    for (int line = 0; line < lines->count; line++)
        UNROLL for (int t = (kernel / 2 + odd) % 2; t < kernel; t += 2) {
            vec tap = load(lines->taps[line] + t * c->channels);
            ptrdiff_t first = (start + odd + kernel / 2 - t) / 2;
            UNROLL for (int i = 0; i < LINE; i++) {
                if (edge && (first + i < 0 || first + i >= c->width)) continue;
                sums[i] += tap * load(lines->image[line] + (first + i) * c->channels);
            }
        }
}

INLINE void gather_line(const Convolution *c, const Lines *lines, float *to, vec bias,
                        Moments *moments, int first_of_plane, int kernel) {
    for (ptrdiff_t start = 0; start < c->out_width; start += 2 * LINE)
        UNROLL for (int odd = 0; odd < 2; odd++) {
            vec sums[LINE];
            int inside = start >= kernel && start / 2 + LINE + kernel < c->width;
            if (inside) gather_part(c, lines, start, bias, sums, kernel, odd, 0);
            else gather_part(c, lines, start, bias, sums, kernel, odd, 1);
            if (first_of_plane && start + odd == 0) moments->pivot = sums[0];
            UNROLL for (int i = 0; i < LINE; i++) {
                ptrdiff_t place = start + 2 * i + odd;
                if (place >= c->out_width) break;
                store(to + place * c->channels, sums[i]);
                note(moments, sums[i]);
            }
        }
}

INLINE void gather(const Convolution *c, ptrdiff_t begin, ptrdiff_t end, int kernel) {
    for (ptrdiff_t d = begin; d < end; d++) for (ptrdiff_t h = 0; h < c->out_height; h++)
        for (ptrdiff_t channel = 0; channel < c->channels; channel += LANES) {
            Lines lines;
            Moments moments = {{0}, {0}, {0}};
            gather_lines(c, &lines, d, h, channel, kernel);
            if (h > 0) {
                double *pivot = c->moments + d * 3 * c->channels + channel;
                UNROLL for (int lane = 0; lane < LANES; lane++) moments.pivot[lane] = (float)pivot[lane];
            }
            float *to = c->result + (d * c->out_height + h) * c->out_width * c->channels + channel;
            gather_line(c, &lines, to, load(c->bias + channel), &moments, h == 0, kernel);
            add_moments(c, d, channel, &moments, h == 0);
        }
}

#define TRANSPOSED(kernel)                                                                         \
    EXPORT void mednext_transposed_k##kernel(const Convolution *c, ptrdiff_t begin, ptrdiff_t end) { \
        gather(c, begin, end, kernel);                                                             \
    }

TRANSPOSED(3)
TRANSPOSED(5)
TRANSPOSED(7)
