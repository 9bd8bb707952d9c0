/* checkbackend_reference.c - what the ops mean, in double, and how far float32 may stray. */
#include "checkbackend.h"

#include <math.h>
#include <string.h>

void check_reference_norm(const float *input, uint64_t width, const float *gain, double epsilon, double *output) {
    double squares = 0;
    for (uint64_t i = 0; i < width; i++) squares += (double)input[i] * input[i];
    double scale = 1 / sqrt(squares / (double)width + epsilon);
    for (uint64_t i = 0; i < width; i++) output[i] = input[i] * scale * (gain ? gain[i] : 1);
}

double check_reference_softcap(double value, double cap) { return cap * tanh(value / cap); }

double check_reference_gelu(double z) {
    return z / 2 * (1 + tanh(0.79788456080286535588 * (z + 0.044715 * z * z * z)));
}

/* The largest magnitude of the columns first ..< first + count, of `columns`. */
static double largest_magnitude(const double *activations, uint64_t first, uint64_t count, uint64_t columns) {
    double largest = 0;
    for (uint64_t i = first; i < first + count && i < columns; i++) largest = fmax(largest, fabs(activations[i]));
    return largest;
}

/* What the bytes of a block of 32 columns count: its largest magnitude / 127, or where the type's blocks have 256
 * columns, that of those, halved while it stays no smaller than the block's own, three times at most. */
static double block_step(uint32_t type, const double *activations, uint64_t first, uint64_t columns) {
    double own = largest_magnitude(activations, first, 32, columns);
    if (check_block_columns(type) == 32) return own / 127;
    double shared = largest_magnitude(activations, first / 256 * 256, 256, columns);
    for (int i = 0; i < 3 && (float)shared / 2 >= (float)own; i++) shared /= 2;
    return shared / 127;
}

void check_steps(uint32_t type, const double *activations, uint64_t columns, double *steps) {
    memset(steps, 0, columns * sizeof(double));
    if (check_subject.activations == CHECK_FLOAT32) return;
    if (type == CABOCHON_TYPE_BF16) {
        /* bfloat16 keeps 8 bits: neighbours are at most 2^-7 of the value apart. */
        for (uint64_t i = 0; i < columns; i++) steps[i] = fabs(activations[i]) * 0x1p-7;
    }
    if (!check_type_is_quantized(type)) return;
    uint64_t block = check_subject.activation_block ? check_subject.activation_block : 32;
    for (uint64_t first = 0; first < columns; first += block) {
        double step = check_subject.activation_block ? largest_magnitude(activations, first, block, columns) / 127
                                                     : block_step(type, activations, first, columns);
        for (uint64_t i = first; i < first + block && i < columns; i++) steps[i] = step;
    }
}

check_dot check_reference_dot(const float *weights, const double *activations, const double *steps, uint64_t columns) {
    double value = 0, magnitude = 0, spread = 0, total = 0;
    for (uint64_t i = 0; i < columns; i++) {
        double product = weights[i] * activations[i], stepped = weights[i] * steps[i];
        value += product;
        magnitude += fabs(product);
        spread += stepped * stepped;
        total += fabs(weights[i]);
    }
    /* Float32: rounding errors of n products and sums, each at most `magnitude` units, add up as
     * a random walk of sqrt(n) steps; 4 of its deviations, and 16 for the norm in front.
     * Activations rounded to steps: each is off by a uniform error of deviation step / sqrt(12),
     * and 8 deviations of their sum never occur by chance. Subnormals may be flushed to zero, and
     * with the scale of a block of int8 all of the block, up to 127 times as large. */
    double flushed = (double)columns + total * (check_subject.activations == CHECK_INT8 ? 127 : 1);
    double tolerance =
        (16 + 4 * sqrt((double)columns)) * CHECK_ROUNDOFF * magnitude + 8 * sqrt(spread / 12) + flushed * 0x1p-126;
    return (check_dot){value, tolerance};
}

/* x rounded to the nearest bfloat16, to even. */
static double brain_float(double x) {
    float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool check_is_within_bound(uint32_t type, const float *weights, const double *activations, uint64_t columns,
                           float output) {
    bool is_quantized = check_type_is_quantized(type);
    double exact = 0, rounded = 0, weight_square = 0, exact_square = 0, rounded_square = 0, undecided = 0;
    for (uint64_t first = 0; first < columns; first += 32) {
        uint64_t end = first + 32 < columns ? first + 32 : columns;
        double step = is_quantized ? block_step(type, activations, first, columns) : 0;
        for (uint64_t i = first; i < end; i++) {
            double x = activations[i], code = step > 0 ? x / step : 0;
            double taken = is_quantized ? step * nearbyint(code) : brain_float(x);
            /* Just between two multiples the float32 quotient may fall to either side. */
            if (is_quantized && fabs(fabs(code - floor(code)) - 0.5) < 0x1p-15) undecided += fabs(weights[i]) * step;
            exact += weights[i] * x;
            rounded += weights[i] * taken;
            weight_square += (double)weights[i] * weights[i];
            exact_square += x * x;
            rounded_square += taken * taken;
        }
    }
    double unit = (double)columns * 0x1p-23 * sqrt(weight_square), least = (double)columns * 0x1p-120;
    return fabs(output - exact) <= unit * sqrt(exact_square) + least ||
           fabs(output - rounded) <= unit * sqrt(rounded_square) + undecided + least;
}

uint16_t check_float16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    double magnitude = fabs((double)value);
    if (isnan(value)) return sign | 0x7e00;
    if (magnitude >= 65520) return sign | 0x7c00;
    if (magnitude < 0x1p-14) return sign | (uint16_t)nearbyint(magnitude * 0x1p24);
    int exponent;
    double fraction = frexp(magnitude, &exponent); /* in [0.5, 1) */
    /* A fraction that rounds up to 2048 carries into the exponent, as it should. */
    return sign | (uint16_t)(((exponent + 13) << 10) + (int)nearbyint(fraction * 2048));
}

double check_float16_value(uint16_t bits) {
    int exponent = bits >> 10 & 31;
    double fraction = bits & 1023;
    double magnitude = exponent == 0    ? fraction * 0x1p-24
                       : exponent == 31 ? (fraction != 0 ? NAN : INFINITY)
                                        : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}
