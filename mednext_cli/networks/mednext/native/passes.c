/* Passes over dense rows (rows, channels), bfloat16 but for the last, between products that oneDNN
 * makes: each value is read once, computed in float32 and rounded once. The result may be what is read. */
#include "gelu.h"

#define EACH_VECTOR \
    for (ptrdiff_t row = 0, place = 0; row < rows; row++) \
        for (ptrdiff_t channel = 0; channel < channels; channel += LANES, place += LANES)

/* result = from - pivot (channels), which is bfloat16 as well. */
EXPORT void mednext_subtract(
    const void *from, void *result, const void *pivot, ptrdiff_t rows, ptrdiff_t channels) {
    EACH_VECTOR store_at(result, place, load_at(from, place, 1) - load_at(pivot, channel, 1), 1);
}

/* result = from + bias (channels, float32) */
EXPORT void mednext_bias(
    const void *from, void *result, const float *bias, ptrdiff_t rows, ptrdiff_t channels) {
    EACH_VECTOR store_at(result, place, load_at(from, place, 1) + load(bias + channel), 1);
}

/* result = from + added + bias */
EXPORT void mednext_add(
    const void *from, const void *added, void *result, const float *bias, ptrdiff_t rows,
    ptrdiff_t channels) {
    EACH_VECTOR {
        vec sum = load_at(from, place, 1) + load(bias + channel);
        store_at(result, place, sum + load_at(added, place, 1), 1);
    }
}

/* GELU of values + bias. */
EXPORT void mednext_gelu(void *values, const float *bias, ptrdiff_t rows, ptrdiff_t channels) {
    EACH_VECTOR store_at(values, place, gelu(load_at(values, place, 1) + load(bias + channel)), 1);
}

/* The same, and the gradient times its slope there. */
EXPORT void mednext_gelu_backward(
    void *values, void *gradient, const float *bias, ptrdiff_t rows, ptrdiff_t channels) {
    EACH_VECTOR {
        float value[LANES], slope[LANES];
        store(value, load_at(values, place, 1) + load(bias + channel));
        store(slope, load_at(gradient, place, 1));
        gelu_backward(value, slope);
        store_at(values, place, load(value), 1);
        store_at(gradient, place, load(slope), 1);
    }
}

/* back = back * scale + image * slope + constant; the three of (channels), float32. */
EXPORT void mednext_line(
    void *back, const void *image, const float *scale, const float *slope, const float *constant,
    ptrdiff_t rows, ptrdiff_t channels) {
    EACH_VECTOR {
        vec line = load_at(image, place, 1) * load(slope + channel) + load(constant + channel);
        store_at(back, place, load_at(back, place, 1) * load(scale + channel) + line, 1);
    }
}

/* The same of float32 rows. */
EXPORT void mednext_line_float32(
    float *back, const float *image, const float *scale, const float *slope, const float *constant,
    ptrdiff_t rows, ptrdiff_t channels) {
    EACH_VECTOR {
        vec line = load(image + place) * load(slope + channel) + load(constant + channel);
        store(back + place, load(back + place) * load(scale + channel) + line);
    }
}
