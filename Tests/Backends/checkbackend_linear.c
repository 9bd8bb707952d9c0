/* checkbackend_linear.c - checks of linear and gated_linear for every type of weights.
 *
 * Every pair of rows and columns meets every type; the numbers of tokens, strides, norms and
 * companion weights rotate through the pairs, so that a run takes seconds.
 */
#include "checkbackend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct linear_case {
    bool gated;
    uint32_t count; /* weights; 2 when gated */
    check_weight weights[4];
    check_matrix input, outputs[4];
    const float *gain;
    bool refuse_scratch;
} linear_case;

/* The outputs of rows first ..< first + count of the input, without NULL where an op was left out. */
static int32_t call(const linear_case *given, check_run *run, uint64_t first, uint64_t count) {
    const float *input = given->input.values + first * given->input.stride;
    if (given->gated) {
        cabochon_gated_linear_args args = {.struct_size = sizeof args,
                                           .input = input,
                                           .input_stride = given->input.stride,
                                           .tokens = count,
                                           .norm_gain = given->gain,
                                           .norm_epsilon = 1e-6f,
                                           .gate = &given->weights[0].weight,
                                           .up = &given->weights[1].weight,
                                           .output = given->outputs[0].values + first * given->outputs[0].stride,
                                           .output_stride = given->outputs[0].stride};
        return check_subject.ops.gated_linear(check_subject.self, &run->run, &args);
    }
    const cabochon_weight *weights[4];
    float *outputs[4];
    uint64_t strides[4];
    for (uint32_t i = 0; i < given->count; i++) {
        weights[i] = &given->weights[i].weight;
        outputs[i] = given->outputs[i].values + first * given->outputs[i].stride;
        strides[i] = given->outputs[i].stride;
    }
    cabochon_linear_args args = {.struct_size = sizeof args,
                                 .input = input,
                                 .input_stride = given->input.stride,
                                 .tokens = count,
                                 .norm_gain = given->gain,
                                 .norm_epsilon = 1e-6f,
                                 .weight_count = given->count,
                                 .weights = weights,
                                 .outputs = outputs,
                                 .output_strides = strides};
    return check_subject.ops.linear(check_subject.self, &run->run, &args);
}

static uint32_t output_count(const linear_case *given) { return given->gated ? 1 : given->count; }

static bool compute(linear_case *given, check_variation variation, uint64_t gap) {
    uint64_t tokens = given->input.rows, chunk = variation.chunk ? variation.chunk : tokens;
    for (uint32_t i = 0; i < output_count(given); i++) {
        uint64_t rows = given->weights[i].weight.rows;
        given->outputs[i] = check_output(tokens, rows, rows + gap);
    }
    bool done = true;
    for (uint64_t first = 0; first < tokens && done; first += chunk) {
        check_run run;
        check_run_start(&run, variation.threads);
        run.refuse_scratch = given->refuse_scratch;
        int32_t status = call(given, &run, first, chunk < tokens - first ? chunk : tokens - first);
        done = check_run_finish(&run, status);
        for (uint32_t i = 0; i < output_count(given); i++) {
            check_matrix output = given->outputs[i];
            if (status == CABOCHON_OP_DECLINED && first == 0 &&
                !check_untouched(output.values, (tokens - 1) * output.stride + output.columns))
                check_fail("declined, but wrote");
        }
    }
    for (uint32_t i = 0; i < output_count(given); i++) check_gaps(given->outputs[i], "output");
    return done;
}

static void compare(const linear_case *given, const double *activations) {
    uint64_t columns = given->input.columns;
    double *steps = malloc(2 * columns * sizeof *steps);
    for (uint64_t t = 0; t < given->input.rows; t++) {
        const double *row = activations + t * columns;
        for (uint32_t i = 0; i < output_count(given); i++) {
            check_matrix output = given->outputs[i];
            check_steps(given->weights[i].weight.type, row, columns, steps);
            if (given->gated) check_steps(given->weights[1].weight.type, row, columns, steps + columns);
            for (uint64_t r = 0; r < output.columns; r++) {
                check_dot dot = check_reference_dot(given->weights[i].values + r * columns, row, steps, columns);
                double expected = dot.value, tolerance = dot.tolerance;
                if (given->gated) {
                    check_dot up =
                        check_reference_dot(given->weights[1].values + r * columns, row, steps + columns, columns);
                    double gelu = check_reference_gelu(dot.value);
                    expected = gelu * up.value;
                    /* The slope of gelu_tanh is below 1.13. Its own error: a few units of z,
                     * since 1 + tanh cancels for negative z. */
                    tolerance = 1.13 * dot.tolerance * (fabs(up.value) + up.tolerance) + fabs(gelu) * up.tolerance +
                                CHECK_ROUNDOFF * (32 * fabs(dot.value * up.value) + 4 * fabs(expected)) + 0x1p-148;
                }
                check_close(output.values[t * output.stride + r], expected, tolerance, "output %u [%llu, %llu]", i,
                            (unsigned long long)t, (unsigned long long)r);
                /* The reference's norm is not the backend's to the last bit. */
                uint32_t type = given->weights[i].weight.type;
                if (given->gated || given->gain || (check_type_is_quantized(type) && type != CABOCHON_TYPE_Q8_0) ||
                    !(check_subject.descriptor->flags & CABOCHON_BACKEND_BOUNDED_PRODUCTS))
                    continue;
                if (!check_is_within_bound(type, given->weights[i].values + r * columns, row, columns,
                                           output.values[t * output.stride + r]))
                    check_fail("output %u [%llu, %llu] is out of the bound that the backend promises", i,
                               (unsigned long long)t, (unsigned long long)r);
            }
        }
    }
    free(steps);
}

/* The input normed by the norm op, or an empty matrix where it declined. */
static check_matrix normed(const linear_case *given) {
    check_matrix input = given->input, output = check_output(input.rows, input.columns, input.columns);
    cabochon_norm_args args = {.struct_size = sizeof args,
                               .input = input.values,
                               .input_stride = input.stride,
                               .tokens = input.rows,
                               .width = input.columns,
                               .gain = given->gain,
                               .epsilon = 1e-6f,
                               .output = output.values,
                               .output_stride = output.stride};
    check_run run;
    check_run_start(&run, 1);
    int32_t status = check_subject.norm(check_subject.norm_self, &run.run, &args);
    check_run_abandon(&run);
    if (status != CABOCHON_OP_DONE) return (check_matrix){0};
    check_freeze(output.values);
    return output;
}

/* A backend that bounds its products gives those of a floating-point weight the same bits, prepared or not. */
static void check_unprepared(const linear_case *given) {
    if (!(check_subject.descriptor->flags & CABOCHON_BACKEND_BOUNDED_PRODUCTS)) return;
    linear_case raw = *given;
    bool differs = false;
    for (uint32_t i = 0; i < given->count; i++) {
        if (check_type_is_quantized(given->weights[i].weight.type)) continue;
        differs = differs || given->weights[i].weight.prepared != NULL;
        raw.weights[i].weight.prepared = NULL;
    }
    for (int v = -1; v < CHECK_VARIATION_COUNT && differs; v++) {
        check_variation variation = v < 0 ? (check_variation){1, 0} : check_variations[v];
        if (variation.chunk >= given->input.rows || !compute(&raw, variation, 0)) continue;
        for (uint32_t i = 0; i < output_count(given); i++)
            check_same_bits(given->outputs[i], raw.outputs[i], "prepared against not prepared");
    }
}

static void check_case(linear_case *given, uint64_t gap) {
    uint64_t columns = given->input.columns;
    if (compute(given, (check_variation){1, 0}, gap)) {
        double *activations = malloc(given->input.rows * columns * sizeof *activations);
        for (uint64_t t = 0; t < given->input.rows; t++) {
            const float *row = given->input.values + t * given->input.stride;
            if (given->gain) check_reference_norm(row, columns, given->gain, (double)1e-6f, activations + t * columns);
            for (uint64_t c = 0; c < columns && !given->gain; c++) activations[t * columns + c] = row[c];
        }
        compare(given, activations);
        for (int v = 0; v < CHECK_VARIATION_COUNT; v++) {
            linear_case again = *given;
            if (check_variations[v].chunk >= given->input.rows) continue;
            if (!compute(&again, check_variations[v], 0)) continue;
            if (!check_subject.same_bits) compare(&again, activations);
            for (uint32_t i = 0; i < output_count(given) && check_subject.same_bits; i++)
                check_same_bits(again.outputs[i], given->outputs[i], "another cut");
        }
        free(activations);
        linear_case folded = *given;
        folded.gain = NULL;
        if (given->gain) folded.input = normed(given);
        if (given->gain && folded.input.values && compute(&folded, (check_variation){1, 0}, gap)) {
            for (uint32_t i = 0; i < output_count(given); i++)
                check_same_bits(given->outputs[i], folded.outputs[i], "norm op, then linear without norm_gain");
        }
        check_unprepared(given);
        for (uint32_t i = 0; i < given->count && given->count > 1 && !given->gated && check_subject.same_bits; i++) {
            linear_case alone = *given;
            alone.count = 1;
            alone.weights[0] = given->weights[i];
            if (compute(&alone, (check_variation){1, 0}, 0))
                check_same_bits(given->outputs[i], alone.outputs[0], "one of several weights against it alone");
        }
    }
    linear_case refused = *given;
    refused.refuse_scratch = true;
    compute(&refused, (check_variation){2, 0}, 0);
}

static void check_shapes(bool gated, uint32_t type, uint64_t rows, uint64_t columns, uint64_t tokens, uint32_t number) {
    static const char *const operations[] = {"linear", "gated_linear"};
    linear_case given = {.gated = gated, .count = gated ? 2 : number % 3 == 0 ? 1 + number / 3 % 4 : 1};
    bool prepare = number % 4 != 3;
    uint64_t gap = number % 5 == 0 ? 3 : 0;
    check_begin("%s %s %llux%llu, %llu tokens, %u weights%s%s, gap %llu", operations[gated], check_type_name(type),
                (unsigned long long)rows, (unsigned long long)columns, (unsigned long long)tokens, given.count,
                number % 2 ? ", norm" : "", prepare ? "" : ", not prepared", (unsigned long long)gap);
    given.input = check_input(tokens, columns, columns + gap * 3);
    if (number % 2) given.gain = check_gain(columns);
    for (uint32_t i = 0; i < given.count; i++) {
        /* Companions are of other types, as in files that mix Q4_K and Q6_K. */
        uint32_t companion = check_type((number + i) % CHECK_TYPE_COUNT);
        bool fits = i > 0 && number % 7 < 4 && columns % check_block_columns(companion) == 0;
        given.weights[i] =
            check_random_weight(fits ? companion : type, gated ? rows : rows + i * 5, columns, number % 6 == 0 ? 6 : 0);
        if (prepare) check_prepare(&given.weights[i]);
    }
    check_case(&given, gap);
    for (uint32_t i = 0; i < given.count; i++) check_release(&given.weights[i]);
    check_end();
}

/* Activations of one magnitude in a block, so that all their bytes are 127 or -127, by weights at their limits: blocks
 * alike, or halved once, twice, three times; signs alike, or so that one pair or every second column adds up. Tokens
 * enough for what a backend does for many. */
static void check_extremes(uint32_t type) {
    enum { TOKENS = 32 };
    uint64_t columns = 512;
    linear_case given = {.count = 1};
    check_begin("linear %s, codes and activations at their limits", check_type_name(type));
    given.weights[0] = check_extreme_weight(type, columns);
    given.input = check_output(TOKENS, columns, columns);
    for (uint64_t t = 0; t < TOKENS; t++) {
        for (uint64_t c = 0; c < columns; c++) {
            uint64_t kind = t % 8;
            float magnitude = kind < 5 ? 1 : 1 / (float)(1 << c / 32 % 4);
            bool is_negative =
                kind == 1 || (kind == 2 && c & 2) || (kind == 3 && c & 1) || (kind == 4 && c & 16) || kind == 6;
            given.input.values[t * columns + c] = is_negative ? -magnitude : magnitude;
        }
    }
    check_freeze(given.input.values);
    check_prepare(&given.weights[0]);
    check_case(&given, 0);
    check_release(&given.weights[0]);
    check_end();
}

/* More tokens than a backend may take at a time, and rows enough for several stretches of them, have the bits that a few
 * tokens have. */
static void check_many_tokens(bool gated, uint32_t type) {
    enum { ROWS = 264, COLUMNS = 2304, TOKENS = 280 };
    if (!check_subject.same_bits) return;
    check_begin("%s %s, %d tokens", gated ? "gated_linear" : "linear", check_type_name(type), TOKENS);
    linear_case given = {.gated = gated, .count = gated ? 2 : 1, .input = check_input(TOKENS, COLUMNS, COLUMNS)};
    for (uint32_t i = 0; i < given.count; i++) {
        given.weights[i] = check_random_weight(type, ROWS, COLUMNS, 0);
        check_prepare(&given.weights[i]);
    }
    const bool done = compute(&given, (check_variation){1, 0}, 0);
    for (uint32_t few = 3; done && few <= 36; few += 33) {
        linear_case again = given;
        if (compute(&again, (check_variation){1, few}, 0))
            check_same_bits(given.outputs[0], again.outputs[0], few == 3 ? "3 at a time" : "36 at a time");
    }
    for (uint32_t i = 0; i < given.count; i++) check_release(&given.weights[i]);
    check_end();
}

/* Numbers below the normal ones, and sums that come to such, are the same bits in every cut, whatever becomes of them. */
static void check_small_numbers(void) {
    enum { ROWS = 33, COLUMNS = 512, TOKENS = 41 };
    if (!check_subject.same_bits) return;
    check_begin("linear BF16, numbers below the normal ones");
    linear_case given = {.count = 1, .input = check_output(TOKENS, COLUMNS, COLUMNS)};
    uint16_t *words = malloc(ROWS * COLUMNS * sizeof *words);
    for (uint64_t i = 0; i < ROWS * COLUMNS; i++)
        words[i] = (uint16_t)(check_random() & 0x807f) | (uint16_t)(check_random_below(12) << 7);
    for (uint64_t i = 0; i < TOKENS * COLUMNS; i++) {
        const float sizes[] = {0x1p-140f, 0x1p-127f, 0x1p-60f, 0x1p-4f, 0x1p8f, 0};
        given.input.values[i] = (float)check_random_normal() * sizes[check_random_below(6)];
    }
    check_freeze(given.input.values);
    given.weights[0].weight = (cabochon_weight){.struct_size = sizeof(cabochon_weight),
                                                .data = words,
                                                .type = CABOCHON_TYPE_BF16,
                                                .rows = ROWS,
                                                .columns = COLUMNS,
                                                .row_bytes = COLUMNS * sizeof *words};
    check_prepare(&given.weights[0]);
    const bool done = compute(&given, (check_variation){1, 0}, 0);
    for (int v = 0; done && v < CHECK_VARIATION_COUNT; v++) {
        linear_case again = given;
        if (compute(&again, check_variations[v], 0)) check_same_bits(again.outputs[0], given.outputs[0], "another cut");
    }
    if (done) check_unprepared(&given);
    check_release(&given.weights[0]);
    check_end();
    free(words);
}

/* An activation that is infinite or no number makes all outputs of its token so, and none of another token's. */
static void check_not_finite(bool gated, uint32_t type) {
    enum { TOKENS = 41, COLUMNS = 512 };
    check_begin("%s %s, activations that are not finite", gated ? "gated_linear" : "linear", check_type_name(type));
    linear_case given = {.gated = gated, .count = gated ? 2 : 1};
    for (uint32_t i = 0; i < given.count; i++) {
        given.weights[i] = check_random_weight(type, 33, COLUMNS, 0);
        check_prepare(&given.weights[i]);
    }
    given.input = check_output(TOKENS, COLUMNS, COLUMNS);
    for (uint64_t t = 0; t < TOKENS; t++) {
        float *row = given.input.values + t * COLUMNS;
        for (uint64_t c = 0; c < COLUMNS; c++) row[c] = (float)check_random_normal();
        const float bad = t % 3 == 0 ? NAN : t % 3 == 1 ? INFINITY : -INFINITY;
        /* In each place of a vector and of a block; in two blocks; everywhere. */
        if (t % 4 == 1) row[(t * 37) % COLUMNS] = bad;
        if (t == 2) row[3] = row[400] = bad;
        for (uint64_t c = 0; t == 40 && c < COLUMNS; c++) row[c] = bad;
    }
    check_freeze(given.input.values);
    for (int v = -1; v < CHECK_VARIATION_COUNT; v++) {
        if (!compute(&given, v < 0 ? (check_variation){1, 0} : check_variations[v], 0)) continue;
        for (uint64_t at = 0; at < TOKENS * 33; at++) {
            uint64_t t = at / 33;
            bool is_bad = t % 4 == 1 || t == 2 || t == 40;
            if (isfinite(given.outputs[0].values[at]) == is_bad) {
                check_fail("[%llu, %llu] is %g", (unsigned long long)t, (unsigned long long)at % 33,
                           given.outputs[0].values[at]);
                break;
            }
        }
    }
    for (uint32_t i = 0; i < given.count; i++) check_release(&given.weights[i]);
    check_end();
}

static void check_all(bool gated) {
    static const uint64_t all_rows[] = {1, 15, 17, 33, 300}, all_columns[] = {7, 32, 33, 96, 256, 640, 768};
    static const uint64_t all_tokens[] = {1, 2, 3, 7, 8, 17, 65};
    uint32_t number = 0;
    for (uint32_t t = 0; t < CHECK_TYPE_COUNT; t++) {
        for (uint32_t c = 0; c < 7; c++) {
            if (all_columns[c] % check_block_columns(check_type(t)) != 0) continue;
            for (uint32_t r = 0; r < 5; r++) {
                for (uint32_t n = 0; n < 7; n++) {
                    /* The largest shapes meet a third of the token counts each. */
                    if (all_rows[r] == 300 && (number + n) % 3 != 0) continue;
                    check_shapes(gated, check_type(t), all_rows[r], all_columns[c], all_tokens[n], number++);
                }
            }
        }
        bool is_float = check_block_columns(check_type(t)) == 1;
        /* Tokens that end in a tile of each size, or in one that a backend may let overlap the one before. */
        static const uint64_t cut_tokens[] = {32, 34, 53, 54, 55, 102};
        for (uint32_t n = 0; n < 6 && is_float; n++)
            check_shapes(gated, check_type(t), 300, n % 2 ? 70 : 33, cut_tokens[n], number++);
        /* As models have them, in groups of 128 columns. */
        static const uint64_t group_tokens[] = {1, 2, 7, 32, 55};
        for (uint32_t n = 0; n < 5 && is_float; n++)
            check_shapes(gated, check_type(t), n % 2 ? 35 : 288, n % 3 ? 1280 : 2304, group_tokens[n], number++);
        if (!gated && !is_float) check_extremes(check_type(t));
        check_many_tokens(gated, check_type(t));
        check_not_finite(gated, check_type(t));
        /* Longer than what a backend may hold of a row at once. */
        uint64_t columns = is_float ? 5123 : 5120;
        for (uint32_t n = 0; n < 2; n++) check_shapes(gated, check_type(t), 17, columns, n == 0 ? 1 : 17, number++);
    }
}

void check_linear(void) {
    check_all(false);
    check_small_numbers();
}
void check_gated_linear(void) { check_all(true); }
