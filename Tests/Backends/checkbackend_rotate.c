/* checkbackend_rotate.c - checks of rotate: norms, rotary positions and filing in the cache. */
#include "checkbackend.h"

#include <math.h>
#include <string.h>

typedef struct rotate_case {
    check_matrix queries, keys, values, cosines, sines;
    const float *query_gain, *key_gain;
    float query_scale;
    uint32_t heads;
    check_batch batch;
} rotate_case;

static bool rotate(const rotate_case *given, check_variation variation) {
    uint64_t tokens = given->batch.tokens, chunk = variation.chunk ? variation.chunk : tokens;
    for (uint64_t first = 0; first < tokens; first += chunk) {
        uint64_t count = chunk < tokens - first ? chunk : tokens - first;
        cabochon_segment segments[4];
        cabochon_rotate_args args = {.struct_size = sizeof args,
                                     .queries = given->queries.values + first * given->queries.stride,
                                     .keys = given->keys.values + first * given->keys.stride,
                                     .values = given->values.values + first * given->values.stride,
                                     .query_stride = given->queries.stride,
                                     .key_stride = given->keys.stride,
                                     .value_stride = given->values.stride,
                                     .query_gain = given->query_gain,
                                     .key_gain = given->key_gain,
                                     .epsilon = 1e-6f,
                                     .query_scale = given->query_scale,
                                     .cosines = given->cosines.values + first * given->cosines.stride,
                                     .sines = given->sines.values + first * given->sines.stride,
                                     .tokens = count,
                                     .heads = given->heads,
                                     .kv_heads = given->batch.kv_heads,
                                     .head_size = given->batch.head_size,
                                     .kv_type = given->batch.kv_type,
                                     .segments = segments};
        args.segment_count = check_batch_part(&given->batch, first, count, segments);
        check_run run;
        check_run_start(&run, variation.threads);
        int32_t status = check_subject.ops.rotate(check_subject.self, &run.run, &args);
        if (!check_run_finish(&run, status)) return false;
    }
    return true;
}

static check_matrix copy_queries(check_matrix from) {
    check_matrix copy = check_output(from.rows, from.columns, from.stride);
    for (uint64_t row = 0; row < from.rows; row++) {
        memcpy(copy.values + row * copy.stride, from.values + row * from.stride, from.columns * sizeof(float));
    }
    return copy;
}

/* One head, normed and rotated in double, with the tolerance of each element. */
static void expect(const rotate_case *given, const float *head, const float *gain, uint64_t row, double scale,
                   double *expected, double *tolerances) {
    uint64_t size = given->batch.head_size, half = size / 2;
    double normed[256];
    for (uint64_t i = 0; i < size; i++) normed[i] = head[i];
    if (gain != NULL) check_reference_norm(head, size, gain, (double)1e-6f, normed);
    const float *cosines = given->cosines.values + row * given->cosines.stride;
    const float *sines = given->sines.values + row * given->sines.stride;
    for (uint64_t i = 0; i < half; i++) {
        double a = normed[i], b = normed[i + half];
        expected[i] = scale * (a * cosines[i] - b * sines[i]);
        expected[i + half] = scale * (b * cosines[i] + a * sines[i]);
        /* As norm; then two products and a difference that may cancel. */
        double units = (gain != NULL ? 8 + 2 * sqrt((double)size) : 0) + 4;
        tolerances[i] = units * CHECK_ROUNDOFF * scale * (fabs(a * cosines[i]) + fabs(b * sines[i])) + 0x1p-126;
        tolerances[i + half] = units * CHECK_ROUNDOFF * scale * (fabs(b * cosines[i]) + fabs(a * sines[i])) + 0x1p-126;
    }
}

/* How far an element may be from what was filed for it: the magnitude that its block's scale is made of is known to
 * `tolerance`. */
static double rounding_of(const check_batch *batch, const double *row, uint64_t element, double tolerance) {
    /* Half a unit in the last place of 11 bits, or of the subnormals. */
    if (batch->kv_type == CABOCHON_TYPE_F16) return fmax(fabs(row[element]) * 0x1p-11, 0x1p-25);
    if (batch->kv_type != CABOCHON_TYPE_Q8_0) return 0;
    double largest = 0;
    for (uint64_t i = element / 32 * 32; i < element / 32 * 32 + 32; i++) largest = fmax(largest, fabs(row[i]));
    /* Half a step of a scale that is rounded as above, which the largest element itself exceeds by half a unit of
     * 127 steps where the scale is subnormal. */
    return (largest + tolerance) / 127 * (0.5 + 0x1p-11) + 127 * 0x1p-25;
}

/* Values are filed as they are, so that what they must be is known to the bit, but for ties of Q8_0's bytes. */
static void check_value(const check_batch *batch, uint64_t at, uint64_t head, uint64_t position, const float *value,
                        uint64_t i) {
    const void *cache = batch->segments[at].values;
    double got = check_cached(batch, at, cache, head, position, i), wanted = value[i];
    bool holds = got == wanted;
    if (batch->kv_type == CABOCHON_TYPE_F16) {
        wanted = check_float16_value(check_float16(value[i]));
        holds = got == wanted;
    } else if (batch->kv_type == CABOCHON_TYPE_Q8_0) {
        float largest = 0;
        bool finite = true;
        for (uint64_t other = i / 32 * 32; other < i / 32 * 32 + 32; other++) {
            largest = fmaxf(largest, fabsf(value[other]));
            finite = finite && isfinite(value[other]);
        }
        double scale = check_cached_scale(batch, at, cache, head, position, i);
        double nearest = scale > 0 ? fmin(127, fmax(-127, value[i] / scale)) : 0;
        /* A product with the scale's reciprocal rounds twice. */
        holds = scale == check_float16_value(check_float16(fminf(largest / 127, 65504))) &&
                fabs(got - scale * nearest) <= scale * (0.5 + 0x1p-16);
        if (!finite) holds = isnan(scale);
    }
    if (!holds)
        check_fail("value [head %llu, position %llu, %llu] is %.9g in the cache, not %.9g", (unsigned long long)head,
                   (unsigned long long)position, (unsigned long long)i, got, wanted);
}

static void check_row(const rotate_case *original, const rotate_case *done, uint64_t row) {
    uint64_t size = done->batch.head_size, at = check_segment_of(&done->batch, row);
    const cabochon_segment *segment = &done->batch.segments[at];
    uint64_t position = segment->first_position + row - segment->first_row;
    double expected[256], tolerances[256];
    for (uint64_t head = 0; head < done->heads; head++) {
        const float *query = original->queries.values + row * original->queries.stride + head * size;
        expect(original, query, original->query_gain, row, original->query_scale, expected, tolerances);
        for (uint64_t i = 0; i < size; i++)
            check_close(done->queries.values[row * done->queries.stride + head * size + i], expected[i], tolerances[i],
                        "query [%llu, %llu, %llu]", (unsigned long long)row, (unsigned long long)head,
                        (unsigned long long)i);
    }
    for (uint64_t head = 0; head < done->batch.kv_heads; head++) {
        const float *key = original->keys.values + row * original->keys.stride + head * size;
        const float *value = original->values.values + row * original->values.stride + head * size;
        expect(original, key, original->key_gain, row, 1, expected, tolerances);
        double largest_tolerance = 0;
        for (uint64_t i = 0; i < size; i++) largest_tolerance = fmax(largest_tolerance, tolerances[i]);
        for (uint64_t i = 0; i < size; i++) {
            double got = check_cached(&done->batch, at, segment->keys, head, position, i);
            double rounding = rounding_of(&done->batch, expected, i, largest_tolerance);
            check_close(got, expected[i], tolerances[i] + rounding, "key [%llu, %llu, %llu]", (unsigned long long)row,
                        (unsigned long long)head, (unsigned long long)i);
            check_value(&done->batch, at, head, position, value, i);
        }
    }
}

static check_matrix random_values(uint64_t tokens, uint64_t width, uint64_t stride, bool in_blocks) {
    /* Ties of float16, the largest that rounds down, overflow, subnormals and what vanishes. */
    static const float awkward[] = {0x1.002p0f, 0x1.006p0f, 65519.996f, 65520, -1e6f,
                                    0x1p-24f,   0x1p-25f,   0x1.8p-25f, 3e-5f, -1e-12f};
    /* Of whole blocks: scales that overflow, are subnormal or vanish, and what is no number. */
    static const float sizes[] = {1, 1e8f, 1e-4f, 1e-7f, 0};
    static const float others[] = {INFINITY, -INFINITY, NAN};
    check_matrix matrix = check_output(tokens, width, stride);
    for (uint64_t row = 0; row < tokens; row++) {
        float *values = matrix.values + row * stride;
        for (uint64_t i = 0; i < width; i++) {
            uint64_t pick = check_random_below(40);
            values[i] = pick < 10 && !in_blocks ? awkward[pick] : (float)check_random_normal();
        }
        for (uint64_t block = 0; in_blocks && block < width; block += 32) {
            uint64_t kind = check_random_below(40);
            for (uint64_t i = 0; kind < 5 && i < 32; i++) values[block + i] *= sizes[kind];
            if (kind < 8 && kind >= 5) values[block + check_random_below(32)] = others[kind - 5];
        }
    }
    check_freeze(matrix.values);
    return matrix;
}

static void check_shape(uint32_t shape, uint32_t kv_type, uint32_t heads, uint32_t kv_heads, uint32_t head_size,
                        bool gains, uint64_t gap) {
    check_begin("rotate batch %u, %s cache, %u/%u heads of %u%s, gap %llu", (unsigned)shape, check_type_name(kv_type),
                (unsigned)heads, (unsigned)kv_heads, (unsigned)head_size, gains ? ", gains" : "",
                (unsigned long long)gap);
    rotate_case given = {.heads = heads, .query_scale = 0.0625f};
    given.batch = check_random_batch(shape, kv_type, kv_heads, head_size);
    uint64_t tokens = given.batch.tokens;
    given.queries = check_input(tokens, heads * head_size, heads * head_size + gap);
    given.keys = check_input(tokens, kv_heads * head_size, kv_heads * head_size + 2 * gap);
    given.values =
        random_values(tokens, kv_heads * head_size, kv_heads * head_size + gap, kv_type == CABOCHON_TYPE_Q8_0);
    given.cosines = check_output(tokens, head_size / 2, head_size / 2);
    given.sines = check_output(tokens, head_size / 2, head_size / 2);
    for (uint64_t i = 0; i < tokens * head_size / 2; i++) {
        double angle = 3 * check_random_normal();
        given.cosines.values[i] = (float)cos(angle);
        given.sines.values[i] = (float)sin(angle);
    }
    check_freeze(given.cosines.values);
    check_freeze(given.sines.values);
    if (gains) given.query_gain = check_gain(head_size), given.key_gain = check_gain(head_size);

    rotate_case whole = given;
    whole.queries = copy_queries(given.queries);
    if (!rotate(&whole, (check_variation){1, 0})) {
        check_same_bits(whole.queries, given.queries, "declined, but changed");
        check_end();
        return;
    }
    for (uint64_t row = 0; row < tokens; row++) check_row(&given, &whole, row);
    check_gaps(whole.queries, "queries");
    check_cache_outside(&whole.batch);
    for (int v = 0; v < CHECK_VARIATION_COUNT && check_subject.same_bits; v++) {
        rotate_case again = given;
        again.queries = copy_queries(given.queries);
        check_empty_caches(&again.batch);
        if (!rotate(&again, check_variations[v])) continue;
        check_same_bits(again.queries, whole.queries, "queries of another cut");
        if (!check_caches_same(&again.batch, &whole.batch)) check_fail("another cut filled other caches");
    }
    check_end();
}

/* Caches that a backend cannot fill: rows that are not whole blocks, a type that none are kept in, or none for one of
 * several sequences. */
static void check_refusal(uint32_t kv_type, uint32_t head_size, bool has_all) {
    check_begin("rotate into a %s cache, heads of %u%s", check_type_name(kv_type), (unsigned)head_size,
                has_all ? "" : ", one missing");
    rotate_case given = {.heads = 4, .query_scale = 1};
    given.batch = check_random_batch(4, CABOCHON_TYPE_F32, 2, head_size);
    if (!has_all) given.batch.segments[0].values = NULL;
    given.batch.kv_type = kv_type;
    uint64_t tokens = given.batch.tokens;
    check_matrix queries = check_input(tokens, 4 * head_size, 4 * head_size);
    given.queries = copy_queries(queries);
    given.keys = check_input(tokens, 2 * head_size, 2 * head_size);
    given.values = check_input(tokens, 2 * head_size, 2 * head_size);
    given.cosines = check_input(tokens, head_size / 2, head_size / 2);
    given.sines = check_input(tokens, head_size / 2, head_size / 2);
    if (rotate(&given, (check_variation){1, 0})) check_fail("did not decline");
    check_same_bits(given.queries, queries, "declined, but changed");
    check_end();
}

void check_rotate(void) {
    static const uint32_t head_sizes[] = {16, 64, 96, 128, 256}, heads[][2] = {{1, 1}, {4, 1}, {8, 4}, {3, 3}, {6, 2}};
    uint32_t number = 0;
    for (uint32_t shape = 0; shape < CHECK_BATCH_COUNT; shape++) {
        for (uint32_t size = 0; size < 5; size++) {
            for (uint32_t h = 0; h < 5; h++, number++) {
                check_shape(shape, number % 2 ? CABOCHON_TYPE_F16 : CABOCHON_TYPE_F32, heads[h][0], heads[h][1],
                            head_sizes[size], number % 3 != 0, number % 4 == 0 ? 5 : 0);
                /* Rows of Q8_0 are whole blocks. */
                if (head_sizes[size] % 32 != 0) continue;
                check_shape(shape, CABOCHON_TYPE_Q8_0, heads[h][0], heads[h][1], head_sizes[size], number % 3 == 0,
                            number % 4 == 0 ? 5 : 0);
            }
        }
    }
    check_refusal(CABOCHON_TYPE_Q8_0, 48, true);
    check_refusal(CABOCHON_TYPE_Q4_0, 64, true);
    check_refusal(CABOCHON_TYPE_F32, 64, false);
}
