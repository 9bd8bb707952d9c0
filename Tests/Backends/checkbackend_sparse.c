/* checkbackend_sparse.c - checks of sparse_encode: the bits of its products, with a screen and without. */
#include "checkbackend.h"

#include <math.h>
#include <string.h>

/* Every product and every sum rounded to float32, in the order that backend.h gives. */
static float exact_product(const float *row, const float *input, uint64_t columns) {
    float sums[16] = {0};
    for (uint64_t c = 0; c < columns; c++) {
        volatile float product = row[c] * input[c]; /* kept from being fused into the sum */
        sums[c % 16] += product;
    }
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) sums[i] += sums[i + half];
    return sums[0];
}

typedef struct shape {
    uint64_t tokens, features, columns, inputs; /* columns beyond `inputs` are padding */
} shape;

static void compare(cabochon_sparse_encode_args args, const char *what) {
    uint64_t room = args.tokens * args.features;
    uint32_t *indices = check_memory(room * sizeof *indices);
    float *values = check_floats(room);
    uint32_t *counts = check_memory(args.tokens * sizeof *counts);
    args.indices = indices;
    args.values = values;
    args.counts = counts;
    int32_t status = check_subject.ops.sparse_encode(check_subject.self, &args);
    check_returned(status);
    if (status != CABOCHON_OP_DONE) return;
    for (uint64_t t = 0; t < args.tokens; t++) {
        uint64_t place = t * args.features, found = 0;
        for (uint64_t f = 0; f < args.features; f++) {
            volatile float pre =
                exact_product(args.rows + f * args.columns, args.input + t * args.columns, args.columns);
            pre += args.bias[f];
            if (!(pre > args.threshold[f])) continue;
            float kept = pre;
            if (found >= counts[t] || indices[place + found] != f ||
                memcmp(&values[place + found], &kept, sizeof kept) != 0) {
                check_fail("%s: token %llu: feature %llu with %a is not there", what, (unsigned long long)t,
                           (unsigned long long)f, kept);
                return;
            }
            found++;
        }
        if (found != counts[t])
            check_fail("%s: token %llu: %u features, not %llu", what, (unsigned long long)t, counts[t],
                       (unsigned long long)found);
    }
}

/* Where thresholds rule nothing out, what a screen without errors leaves: all that is above its bar, and of a backend that
 * makes use of screens nothing that is below, but for what rounding may move over it. */
static void compare_screened(cabochon_sparse_encode_args args, const float *thresholds) {
    uint64_t padded = (args.features + 31) / 32 * 32;
    float *zeros = check_floats(padded), *ones = check_floats(padded), *bar = check_floats(padded);
    float *no_error = check_floats(args.tokens), *one = check_floats(args.tokens);
    double *dots = check_memory(args.features * args.tokens * sizeof *dots);
    double room = (double)args.columns * 128 * 32768 * 0x1p-22; /* four roundings to float32 of the largest dot */
    for (uint64_t t = 0; t < args.tokens; t++) one[t] = 1, no_error[t] = 0;
    for (uint64_t f = 0; f < padded; f++) ones[f] = 1, zeros[f] = 0, bar[f] = INFINITY;
    for (uint64_t f = 0; f < args.features; f++) {
        const uint8_t *codes = args.codes + f / 16 * 16 * args.columns + f % 16 * 4;
        for (uint64_t t = 0; t < args.tokens; t++) {
            int64_t dot = 0;
            for (uint64_t c = 0; c < args.columns; c++)
                dot += (int64_t)(codes[c / 4 * 64 + c % 4] - 128) * args.numbers[t * args.columns + c];
            dots[f * args.tokens + t] = (double)dot;
        }
        /* A little below or above what one token gives. */
        bar[f] = (float)(dots[f * args.tokens + f % args.tokens] + (f & 1 ? 2 : -2) * room);
    }
    args.scale = ones, args.error = zeros, args.norm = zeros, args.bar = bar, args.threshold = thresholds;
    args.input_scale = one, args.input_norm = no_error, args.input_error = no_error, args.planes = 2;
    uint32_t *indices = check_memory(args.tokens * args.features * sizeof *indices);
    float *values = check_floats(args.tokens * args.features);
    uint32_t *counts = check_memory(args.tokens * sizeof *counts);
    args.indices = indices, args.values = values, args.counts = counts;
    int32_t status = check_subject.ops.sparse_encode(check_subject.self, &args);
    check_returned(status);
    if (status != CABOCHON_OP_DONE) return;
    int screens = (check_subject.descriptor->flags & CABOCHON_BACKEND_SCREENS) != 0;
    for (uint64_t t = 0; t < args.tokens; t++) {
        for (uint64_t f = 0, found = 0; f < args.features; f++) {
            double above = dots[f * args.tokens + t] - bar[f];
            int is_there = found < counts[t] && indices[t * args.features + found] == f;
            found += is_there;
            if (!is_there && above > room)
                check_fail("a screen: token %llu: feature %llu, %g above its bar, is not there", (unsigned long long)t,
                           (unsigned long long)f, above);
            if (is_there && screens && above < -room)
                check_fail("a screen: token %llu: feature %llu, %g below its bar, is there", (unsigned long long)t,
                           (unsigned long long)f, -above);
        }
    }
}

typedef struct row_source {
    const float *rows;
    uint64_t columns;
} row_source;

/* Every other row in the buffer, the others where they lie. */
static const float *read_row(void *context, uint64_t feature, float *buffer) {
    const row_source *source = context;
    const float *row = source->rows + feature * source->columns;
    if (feature % 2) return row;
    return memcpy(buffer, row, source->columns * sizeof *row);
}

void check_sparse_encode(void) {
    static const shape shapes[] = {
        {1, 1, 16, 16},    {1, 128, 64, 64},    {3, 32, 48, 41},     {13, 96, 640, 640},
        {7, 33, 112, 100}, {64, 128, 256, 256}, {8, 48, 2304, 2304},
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const shape *given = &shapes[s];
        uint64_t padded = (given->features + 31) / 32 * 32;
        check_begin("sparse_encode of %llu tokens, %llu features of %llu", (unsigned long long)given->tokens,
                    (unsigned long long)given->features, (unsigned long long)given->inputs);
        float *input = check_floats(given->tokens * given->columns);
        float *rows = check_floats(given->features * given->columns);
        for (uint64_t i = 0; i < given->tokens * given->columns; i++)
            input[i] = i % given->columns < given->inputs ? (float)check_random_normal() : 0;
        for (uint64_t i = 0; i < given->features * given->columns; i++)
            rows[i] = i % given->columns < given->inputs ? (float)check_random_normal() : 0;
        float *bias = check_floats(given->features), *threshold = check_floats(given->features);
        for (uint64_t f = 0; f < given->features; f++) {
            bias[f] = (float)check_random_normal();
            /* A third of them exactly at what one token gives: that does not fire. */
            volatile float pre =
                exact_product(rows + f * given->columns, input + f % given->tokens * given->columns, given->columns);
            pre += bias[f];
            threshold[f] = f % 3 ? (float)(check_random_normal() + 1) * sqrtf((float)given->inputs) : pre;
        }
        cabochon_sparse_encode_args args = {
            .struct_size = sizeof args,
            .input = input,
            .tokens = given->tokens,
            .columns = given->columns,
            .rows = rows,
            .bias = bias,
            .threshold = threshold,
            .features = given->features,
        };
        compare(args, "no screen");

        /* A screen that rules nothing out must change nothing, whatever its codes. */
        uint8_t *codes = check_memory(padded * given->columns);
        int8_t *bytes = check_memory(given->tokens * given->columns);
        for (uint64_t i = 0; i < padded * given->columns; i++) codes[i] = (uint8_t)check_random_below(256);
        int16_t *numbers = check_memory(given->tokens * given->columns * sizeof *numbers);
        for (uint64_t i = 0; i < given->tokens * given->columns; i++) {
            bytes[i] = (int8_t)check_random_below(255) - 127;
            numbers[i] = (int16_t)(257 * bytes[i]);
        }
        /* The largest products there are, all of one sign. */
        for (uint64_t c = 0; c < given->columns; c++) {
            bytes[c] = 127, numbers[c] = 257 * 127;
            codes[c / 4 * 64 + c % 4] = 255;
        }
        float *ones = check_floats(padded), *bar = check_floats(padded), *sizes = check_floats(given->tokens);
        int32_t *sums = check_memory(given->tokens * sizeof *sums);
        for (uint64_t f = 0; f < padded; f++) ones[f] = 1, bar[f] = f < given->features ? -INFINITY : INFINITY;
        for (uint64_t t = 0; t < given->tokens; t++) {
            sizes[t] = 1, sums[t] = 0;
            for (uint64_t c = 0; c < given->columns; c++) sums[t] += bytes[t * given->columns + c];
        }
        args.codes = codes, args.scale = ones, args.error = ones, args.norm = ones, args.bar = bar;
        args.high = bytes, args.low = bytes, args.high_sum = sums, args.low_sum = sums;
        args.numbers = numbers;
        args.input_scale = sizes, args.input_norm = sizes, args.input_error = sizes;
        for (args.planes = 1; args.planes <= 2; args.planes++) compare(args, "a screen that rules nothing out");

        float *lowest = check_floats(given->features);
        for (uint64_t f = 0; f < given->features; f++) lowest[f] = -INFINITY;
        compare_screened(args, lowest);

        row_source source = {rows, given->columns};
        args.planes = 2, args.read_row = read_row, args.row_context = &source;
        args.row_buffers = check_floats(4 * given->columns);
        compare(args, "rows that are read one by one");
        check_end();
    }
}
