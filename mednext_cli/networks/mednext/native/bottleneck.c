/* Norm, expansion, GELU, compression and residual of rows of voxels, and their gradients.
 *
 * The norm is in the expansion's weight and bias. Rows are gone through in pieces, whose expanded
 * channels stay in the cache: they are never whole in memory, and computed again for gradients.
 */
#include "gelu.h"

EXPORT int mednext_lanes(void) { return LANES; }
EXPORT uint32_t mednext_stamp(void) { return STAMP; }

typedef struct {
    const float *from; /* (rows, inner) */
    const float *weight; /* (inner, columns) */
    const float *bias; /* (columns) or NULL */
    const float *added; /* (rows, columns) or NULL */
    float *to; /* (rows, columns) */
    ptrdiff_t inner, columns;
} Product;

/* `rows` by `vectors` results in registers: from * weight + bias, then GELU or the residual. */
INLINE void multiply_tile(const Product *p, ptrdiff_t row, ptrdiff_t column, int activated, int rows,
                          int vectors) {
    vec sums[TILE_ROWS][2];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < vectors; j++)
        sums[i][j] = p->bias ? load(p->bias + column + j * LANES) : splat(0.0f);
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
TILES(multiply, 0)

/* Values as float32: where they are, or in `room`, where they are bfloat16. */
static const float *widened(const void *from, ptrdiff_t place, ptrdiff_t count, float *room, int half) {
    if (!half) return (const float *)from + place;
    for (ptrdiff_t i = 0; i < count; i += LANES) store(room + i, load_at(from, place + i, 1));
    return room;
}

static void narrow(const float *from, void *to, ptrdiff_t place, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i += LANES) store_at(to, place + i, load(from + i), 1);
}

/* y = compress(gelu(expand(x))) + added; y may be x, or added, where the shapes are the same. */
typedef struct {
    const void *x; /* (rows, channels) */
    const float *expand_weight; /* (channels, hidden) */
    const float *expand_bias; /* (hidden) */
    const float *compress_weight; /* (hidden, out) */
    const float *compress_bias; /* (out) */
    const void *added; /* (rows, out) or NULL */
    void *y; /* (rows, out) */
    float *scratch; /* (piece, hidden + channels + out) */
    ptrdiff_t rows, piece, channels, hidden, out;
    ptrdiff_t half; /* x, added and y are bfloat16 */
} BottleneckForward;

EXPORT void mednext_bottleneck(const BottleneckForward *b) {
    int half = b->half != 0;
    float *of_x = b->scratch + b->piece * b->hidden, *of_y = of_x + b->piece * b->channels;
    for (ptrdiff_t row = 0; row < b->rows; row += b->piece) {
        ptrdiff_t some = b->rows - row < b->piece ? b->rows - row : b->piece;
        const float *x = widened(b->x, row * b->channels, some * b->channels, of_x, half);
        const float *added = b->added ? widened(b->added, row * b->out, some * b->out, of_y, half) : NULL;
        float *y = half ? of_y : (float *)b->y + row * b->out;
        Product up = {x, b->expand_weight, b->expand_bias, NULL, b->scratch, b->channels, b->hidden};
        Product down = {b->scratch, b->compress_weight, b->compress_bias, added, y, b->hidden, b->out};
        expand(&up, some);
        multiply(&down, some);
        if (half) narrow(y, b->y, row * b->out, some * b->out);
    }
}

/* sums (highs, wides) += high^T wide, of high (rows, highs) and wide (rows, wides). */
typedef struct {
    const float *high, *wide;
    float *sums;
    ptrdiff_t rows, highs, wides;
} Outer;

/* Four by two vectors are enough sums at once here, and four divides all numbers of channels. */
#define OUTER_ROWS 4

INLINE void outer_tile(const Outer *o, ptrdiff_t row, ptrdiff_t column, int vectors) {
    vec sums[OUTER_ROWS][2];
    float *to = o->sums + row * o->wides + column;
    UNROLL for (int i = 0; i < OUTER_ROWS; i++) UNROLL for (int j = 0; j < vectors; j++)
        sums[i][j] = load(to + i * o->wides + j * LANES);
    const float *highs = o->high + row, *wides = o->wide + column;
    for (ptrdiff_t k = 0; k < o->rows; k++, highs += o->highs, wides += o->wides) {
        vec factors[2];
        UNROLL for (int j = 0; j < vectors; j++) factors[j] = load(wides + j * LANES);
        UNROLL for (int i = 0; i < OUTER_ROWS; i++) UNROLL for (int j = 0; j < vectors; j++)
            sums[i][j] += highs[i] * factors[j];
    }
    UNROLL for (int i = 0; i < OUTER_ROWS; i++) UNROLL for (int j = 0; j < vectors; j++)
        store(to + i * o->wides + j * LANES, sums[i][j]);
}

APART void outer_wide(const Outer *o, ptrdiff_t row, ptrdiff_t column) { outer_tile(o, row, column, 2); }
APART void outer_narrow(const Outer *o, ptrdiff_t row, ptrdiff_t column) { outer_tile(o, row, column, 1); }

static void add_outer(const Outer *o) {
    ptrdiff_t column = 0;
    for (; column + 2 * LANES <= o->wides; column += 2 * LANES)
        for (ptrdiff_t row = 0; row < o->highs; row += OUTER_ROWS) outer_wide(o, row, column);
    for (; column < o->wides; column += LANES)
        for (ptrdiff_t row = 0; row < o->highs; row += OUTER_ROWS) outer_narrow(o, row, column);
}

static void add_rows(const float *from, float *sums, ptrdiff_t rows, ptrdiff_t columns) {
    for (ptrdiff_t column = 0; column < columns; column += LANES) {
        vec sum = load(sums + column);
        for (ptrdiff_t row = 0; row < rows; row++) sum += load(from + row * columns + column);
        store(sums + column, sum);
    }
}

/* What the gradients of mednext_bottleneck are computed from, and where they go. */
typedef struct {
    const void *x; /* (rows, channels) */
    const void *gradient; /* (rows, out), of the result */
    const float *expand_weight; /* (channels, hidden), with the norm in it */
    const float *expand_bias; /* (hidden) */
    const float *expand; /* (hidden, channels), without it */
    const float *compress; /* (out, hidden) */
    void *x_gradient; /* (rows, channels), the norm's scale left out: see mednext_line */
    float *sums; /* (parts, channels hidden + hidden + hidden out + out), to be filled */
    float *scratch; /* (2, piece, hidden + channels + out) */
    ptrdiff_t rows, piece, of_part, channels, hidden, out; /* rows in all, at once, and of a part */
    ptrdiff_t half; /* x and both gradients of rows are bfloat16 */
} BottleneckBackward;

/* Sums of the rows `row` to `end`: x^T inner, inner, expanded^T gradient and gradient. */
INLINE void sum_part(const BottleneckBackward *b, ptrdiff_t row, ptrdiff_t end, float *sums, int half) {
    float *expanded = b->scratch, *inner = expanded + b->piece * b->hidden;
    float *of_x = inner + b->piece * b->hidden, *of_result = of_x + b->piece * b->channels;
    float *of_gradient = of_result + b->piece * b->channels;
    float *bias = sums + b->channels * b->hidden, *compress = bias + b->hidden;
    float *last = compress + b->hidden * b->out;
    for (float *sum = sums; sum < last + b->out; sum += LANES) store(sum, splat(0.0f));
    for (; row < end; row += b->piece) {
        ptrdiff_t some = end - row < b->piece ? end - row : b->piece, place = row * b->channels;
        const float *x = widened(b->x, place, some * b->channels, of_x, half);
        const float *gradient = widened(b->gradient, row * b->out, some * b->out, of_gradient, half);
        Product up = {x, b->expand_weight, b->expand_bias, NULL, expanded, b->channels, b->hidden};
        Product back = {gradient, b->compress, NULL, NULL, inner, b->out, b->hidden};
        multiply(&up, some);
        multiply(&back, some);
        for (ptrdiff_t i = 0; i < some * b->hidden; i += LANES) gelu_backward(expanded + i, inner + i);
        float *to = half ? of_result : (float *)b->x_gradient + place;
        Product down = {inner, b->expand, NULL, NULL, to, b->hidden, b->channels};
        multiply(&down, some);
        if (half) narrow(to, b->x_gradient, place, some * b->channels);
        Outer of_expand = {x, inner, sums, some, b->channels, b->hidden};
        Outer of_compress = {expanded, gradient, compress, some, b->hidden, b->out};
        add_outer(&of_expand);
        add_outer(&of_compress);
        add_rows(inner, bias, some, b->hidden);
        add_rows(gradient, last, some, b->out);
    }
}

/* Parts `begin` to `end` of the rows. */
EXPORT void mednext_bottleneck_backward(const BottleneckBackward *b, ptrdiff_t begin, ptrdiff_t end) {
    ptrdiff_t size = (b->channels + 1) * b->hidden + (b->hidden + 1) * b->out;
    for (ptrdiff_t part = begin; part < end; part++) {
        ptrdiff_t row = part * b->of_part, left = b->rows - row;
        sum_part(b, row, row + (left < b->of_part ? left : b->of_part), b->sums + part * size, b->half != 0);
    }
}
