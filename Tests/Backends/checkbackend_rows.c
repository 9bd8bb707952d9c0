/* checkbackend_rows.c - checks of the ops that work row by row: embed, norm and softcap. */
#include "checkbackend.h"

#include <math.h>
#include <string.h>

static uint64_t chunk_of(check_variation variation, uint64_t tokens) {
    return variation.chunk ? variation.chunk : tokens;
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- embed ---- */

static bool embed(const check_weight *embedding, const int32_t *ids, check_matrix output, check_variation variation) {
    uint64_t chunk = chunk_of(variation, output.rows);
    for (uint64_t first = 0; first < output.rows; first += chunk) {
        check_run run;
        check_run_start(&run, variation.threads);
        cabochon_embed_args args = {.struct_size = sizeof args,
                                    .embedding = &embedding->weight,
                                    .ids = ids + first,
                                    .tokens = smaller(chunk, output.rows - first),
                                    .scale = 25.25f,
                                    .output = output.values + first * output.stride,
                                    .output_stride = output.stride};
        int32_t status = check_subject.ops.embed(check_subject.self, &run.run, &args);
        if (!check_run_finish(&run, status)) return false;
    }
    return true;
}

static void check_embed_case(uint32_t type, uint64_t rows, uint64_t width, uint64_t tokens, uint64_t gap) {
    check_begin("embed %s %llux%llu, %llu tokens, gap %llu", check_type_name(type), (unsigned long long)rows,
                (unsigned long long)width, (unsigned long long)tokens, (unsigned long long)gap);
    check_weight embedding = check_random_weight(type, rows, width, gap);
    check_prepare(&embedding);
    int32_t *ids = check_memory(tokens * sizeof(int32_t));
    for (uint64_t t = 0; t < tokens; t++) ids[t] = (int32_t)(t == 0 ? rows - 1 : check_random_below(rows));
    check_freeze(ids);
    check_matrix output = check_output(tokens, width, width + gap);
    if (!embed(&embedding, ids, output, (check_variation){1, 0})) {
        if (!check_untouched(output.values, (tokens - 1) * output.stride + width)) check_fail("declined, but wrote");
    } else {
        check_gaps(output, "output");
        for (uint64_t t = 0; t < tokens; t++) {
            for (uint64_t i = 0; i < width; i++) {
                double expected = 25.25 * embedding.values[(uint64_t)ids[t] * width + i];
                /* A product or two of float32. */
                check_close(output.values[t * output.stride + i], expected,
                            4 * CHECK_ROUNDOFF * fabs(expected) + 0x1p-126, "[%llu, %llu]", (unsigned long long)t,
                            (unsigned long long)i);
            }
        }
        for (int v = 0; v < CHECK_VARIATION_COUNT; v++) {
            check_matrix again = check_output(tokens, width, width);
            if (embed(&embedding, ids, again, check_variations[v])) check_same_bits(again, output, "another cut");
        }
    }
    check_release(&embedding);
    check_end();
}

void check_embed(void) {
    static const uint64_t all_columns[] = {7, 32, 33, 96, 256, 640, 768}, all_tokens[] = {1, 2, 7, 17, 65};
    uint32_t number = 0;
    for (uint32_t t = 0; t < CHECK_TYPE_COUNT; t++) {
        for (uint32_t c = 0; c < 7; c++) {
            if (all_columns[c] % check_block_columns(check_type(t)) != 0) continue;
            check_embed_case(check_type(t), 33, all_columns[c], all_tokens[number % 5], number % 3 * 4);
            number++;
        }
    }
}

/* ---- norm ---- */

typedef struct norm_case {
    check_matrix input, output, residual;
    const float *gain;
} norm_case;

static bool norm(const norm_case *given, check_variation variation) {
    uint64_t chunk = chunk_of(variation, given->input.rows);
    for (uint64_t first = 0; first < given->input.rows; first += chunk) {
        check_run run;
        check_run_start(&run, variation.threads);
        cabochon_norm_args args = {.struct_size = sizeof args,
                                   .input = given->input.values + first * given->input.stride,
                                   .input_stride = given->input.stride,
                                   .tokens = smaller(chunk, given->input.rows - first),
                                   .width = given->input.columns,
                                   .gain = given->gain,
                                   .epsilon = 1e-6f};
        if (given->output.values != NULL) {
            args.output = given->output.values + first * given->output.stride;
            args.output_stride = given->output.stride;
        }
        if (given->residual.values != NULL) {
            args.residual = given->residual.values + first * given->residual.stride;
            args.residual_stride = given->residual.stride;
        }
        int32_t status = check_subject.ops.norm(check_subject.self, &run.run, &args);
        if (!check_run_finish(&run, status)) return false;
    }
    return true;
}

static check_matrix copy_matrix(check_matrix matrix, uint64_t gap) {
    check_matrix copy = check_output(matrix.rows, matrix.columns, matrix.columns + gap);
    for (uint64_t row = 0; row < matrix.rows; row++) {
        memcpy(copy.values + row * copy.stride, matrix.values + row * matrix.stride, matrix.columns * sizeof(float));
    }
    return copy;
}

/* output: 0 none, 1 its own memory, 2 the input itself. */
static void check_norm_case(uint64_t width, uint64_t tokens, bool gain, int output, bool residual, uint64_t gap) {
    check_begin("norm width %llu, %llu tokens, %s%s%s, gap %llu", (unsigned long long)width, (unsigned long long)tokens,
                gain ? "gain" : "no gain",
                output == 2 ? ", in place"
                : output    ? ", output"
                            : "",
                residual ? ", residual" : "", (unsigned long long)gap);
    check_matrix input = check_input(tokens, width, width + gap), added = {0};
    if (residual) added = check_input(tokens, width, width);
    norm_case first = {.gain = gain ? check_gain(width) : NULL};
    for (int v = -1; v < CHECK_VARIATION_COUNT; v++) {
        norm_case given = {.input = input, .gain = first.gain};
        if (output == 2) given.input = given.output = copy_matrix(input, gap);
        if (output == 1) given.output = check_output(tokens, width, width + 2 * gap);
        if (residual) given.residual = copy_matrix(added, gap);
        if (!norm(&given, v < 0 ? (check_variation){1, 0} : check_variations[v])) break;
        if (output != 0) check_gaps(given.output, "output");
        if (residual) check_gaps(given.residual, "residual");
        if (v < 0) first = given;
        else if (check_subject.same_bits && output != 0) check_same_bits(given.output, first.output, "another cut");
        if (v >= 0 && check_subject.same_bits && residual)
            check_same_bits(given.residual, first.residual, "residual of another cut");
    }
    double expected[4096];
    for (uint64_t t = 0; t < tokens && first.input.values != NULL; t++) {
        check_reference_norm(input.values + t * input.stride, width, first.gain, (double)1e-6f, expected);
        for (uint64_t i = 0; i < width; i++) {
            /* The sum of squares is off by a random walk, halved by the root; then a few products. */
            double tolerance = (8 + 2 * sqrt((double)width)) * CHECK_ROUNDOFF * fabs(expected[i]) + 0x1p-126;
            if (output != 0)
                check_close(first.output.values[t * first.output.stride + i], expected[i], tolerance, "[%llu, %llu]",
                            (unsigned long long)t, (unsigned long long)i);
            if (!residual) continue;
            double sum = added.values[t * added.stride + i] + expected[i];
            check_close(first.residual.values[t * first.residual.stride + i], sum,
                        tolerance + 2 * CHECK_ROUNDOFF * fabs(sum), "residual [%llu, %llu]", (unsigned long long)t,
                        (unsigned long long)i);
        }
    }
    check_end();
}

void check_norm(void) {
    static const uint64_t widths[] = {1, 7, 16, 33, 256, 640, 2304}, all_tokens[] = {1, 2, 3, 17, 65};
    uint32_t number = 0;
    for (uint32_t w = 0; w < 7; w++) {
        for (uint32_t t = 0; t < 5; t++) {
            for (int form = 0; form < 5; form++, number++) {
                /* output; in place; residual alone; both; both in place */
                check_norm_case(widths[w], all_tokens[t], number % 3 != 0,
                                form == 2       ? 0
                                : form % 3 == 1 ? 2
                                                : 1,
                                form >= 2, number % 2 * 3);
            }
        }
    }
}

/* ---- softcap ---- */

static bool softcap(float *values, uint64_t count, uint64_t chunk, uint32_t threads, float cap) {
    for (uint64_t first = 0; first < count; first += chunk) {
        check_run run;
        check_run_start(&run, threads);
        cabochon_softcap_args args = {
            .struct_size = sizeof args, .values = values + first, .count = smaller(chunk, count - first), .cap = cap};
        int32_t status = check_subject.ops.softcap(check_subject.self, &run.run, &args);
        if (!check_run_finish(&run, status)) return false;
    }
    return true;
}

/* With a cap of 1 the op is the tangent alone: at most 2 units of the last place off, wherever it is. */
static void check_tangent(void) {
    enum { COUNT = 1 << 18 };
    check_begin("softcap of %d at 1, within 2 units of the last place", COUNT);
    check_matrix values = check_output(1, COUNT, COUNT);
    float *given = check_memory(COUNT * sizeof *given);
    for (int i = 0; i < COUNT; i++) /* as many in each octave, 2^-10 to 16 */
        given[i] = values.values[i] = (i % 2 ? -1 : 1) * exp2f(14 * (i + 0.5f) / COUNT - 10);
    if (softcap(values.values, COUNT, COUNT, 1, 1)) {
        for (int i = 0; i < COUNT; i++) {
            double expected = tanh((double)given[i]);
            int exponent;
            frexp(expected, &exponent);
            check_close(values.values[i], expected, ldexp(2, exponent - 24), "tanh %.9g", (double)given[i]);
        }
    }
    check_end();
}

void check_softcap(void) {
    check_tangent();
    static const uint64_t counts[] = {1, 2, 7, 8, 17, 33, 300, 4097};
    for (int c = 0; c < 16; c++) {
        uint64_t count = counts[c / 2];
        float cap = c % 2 ? 30 : 50;
        check_begin("softcap of %llu at %g", (unsigned long long)count, cap);
        check_matrix given = check_output(1, count, count);
        for (uint64_t i = 0; i < count; i++) {
            static const float extremes[] = {0,  -0.0f, 1e30f, -1e30f,   1e-30f,   1e-41f,
                                             50, -400,  NAN,   INFINITY, -INFINITY};
            given.values[i] = i % 5 == 1 ? extremes[i / 5 % 11] : 40 * (float)check_random_normal();
        }
        check_matrix whole = copy_matrix(given, 0);
        if (softcap(whole.values, count, count, 1, cap)) {
            for (uint64_t i = 0; i < count; i++) {
                double expected = check_reference_softcap(given.values[i], cap);
                if (isnan(given.values[i]) && isnan(whole.values[i])) continue;
                /* A tanh within 2 ulp, four roundings of itself, and one each for the quotient and the product; the
                 * quotient of the smallest values is a multiple of 2^-149. */
                check_close(whole.values[i], expected, CHECK_ROUNDOFF * 6 * fabs(expected) + cap * 0x1p-149, "[%llu]",
                            (unsigned long long)i);
            }
            for (int v = 0; v < CHECK_VARIATION_COUNT && check_subject.same_bits; v++) {
                check_matrix again = copy_matrix(given, 0);
                softcap(again.values, count, chunk_of(check_variations[v], count), check_variations[v].threads, cap);
                check_same_bits(again, whole, "another cut");
            }
        } else {
            check_same_bits(whole, given, "declined, but changed");
        }
        check_end();
    }
}
