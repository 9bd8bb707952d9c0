/* checkbackend_attention.c - checks of attention: windows, softcap, grouped heads, all kinds of caches. */
#include "checkbackend.h"

#include <math.h>
#include <stdlib.h>

typedef struct attention_case {
    check_matrix queries, output;
    uint32_t heads;
    uint64_t window;
    float softcap;
    check_batch batch;
    bool refuse_scratch;
} attention_case;

static bool attend(attention_case *given, check_variation variation, uint64_t gap) {
    uint64_t tokens = given->batch.tokens, chunk = variation.chunk ? variation.chunk : tokens;
    uint64_t width = given->queries.columns;
    given->output = check_output(tokens, width, width + gap);
    for (uint64_t first = 0; first < tokens; first += chunk) {
        uint64_t count = chunk < tokens - first ? chunk : tokens - first;
        cabochon_segment segments[4];
        cabochon_attention_args args = {.struct_size = sizeof args,
                                        .queries = given->queries.values + first * given->queries.stride,
                                        .query_stride = given->queries.stride,
                                        .tokens = count,
                                        .heads = given->heads,
                                        .kv_heads = given->batch.kv_heads,
                                        .head_size = given->batch.head_size,
                                        .kv_type = given->batch.kv_type,
                                        .window = given->window,
                                        .softcap = given->softcap,
                                        .segments = segments,
                                        .output = given->output.values + first * given->output.stride,
                                        .output_stride = given->output.stride};
        args.segment_count = check_batch_part(&given->batch, first, count, segments);
        check_run run;
        check_run_start(&run, variation.threads);
        run.refuse_scratch = given->refuse_scratch;
        int32_t status = check_subject.ops.attention(check_subject.self, &run.run, &args);
        if (!check_run_finish(&run, status)) {
            if (status == CABOCHON_OP_DECLINED &&
                !check_untouched(given->output.values, (tokens - 1) * (width + gap) + width))
                check_fail("declined, but wrote");
            return false;
        }
    }
    check_gaps(given->output, "output");
    return true;
}

/* Whether a row sees a position whose values or keys are infinite. */
static bool sees_infinite(const attention_case *given, uint64_t row) {
    const cabochon_segment *segment = &given->batch.segments[check_segment_of(&given->batch, row)];
    uint64_t position = segment->first_position + row - segment->first_row;
    for (uint64_t back = 0; back <= position && (given->window == 0 || back < given->window); back++) {
        if (check_is_infinite(&given->batch, position - back)) return true;
    }
    return false;
}

static void check_head(const attention_case *given, uint64_t row, uint64_t head, double *scores, double *errors) {
    const check_batch *batch = &given->batch;
    uint64_t size = batch->head_size, at = check_segment_of(batch, row);
    const cabochon_segment *segment = &batch->segments[at];
    uint64_t kv_head = head / (given->heads / batch->kv_heads);
    uint64_t end = segment->first_position + row - segment->first_row + 1, start = 0;
    if (given->window > 0 && end > given->window) start = end - given->window;
    const float *query = given->queries.values + row * given->queries.stride + head * size;
    double largest = -INFINITY, sum = 0, mean_error = 0;
    for (uint64_t p = start; p < end; p++) {
        double magnitude = 0;
        scores[p] = 0;
        for (uint64_t i = 0; i < size; i++) {
            double product = query[i] * check_cached(batch, at, segment->keys, kv_head, p, i);
            scores[p] += product;
            magnitude += fabs(product);
        }
        /* A random walk of float32 roundings; then a few units of the softcap, as the op of that name. */
        errors[p] = (4 + sqrt((double)size)) * CHECK_ROUNDOFF * magnitude;
        if (given->softcap > 0) {
            scores[p] = check_reference_softcap(scores[p], given->softcap);
            errors[p] += CHECK_ROUNDOFF * (4 * given->softcap + 8 * fabs(scores[p]));
        }
        largest = fmax(largest, scores[p]);
    }
    for (uint64_t p = start; p < end; p++) sum += scores[p] = exp(scores[p] - largest);
    for (uint64_t p = start; p < end; p++) mean_error += (scores[p] /= sum) * errors[p];
    for (uint64_t i = 0; i < size; i++) {
        double expected = 0, tolerance = 0;
        for (uint64_t p = start; p < end; p++) {
            double part = scores[p] * check_cached(batch, at, segment->values, kv_head, p, i);
            expected += part;
            /* A softmax weight moves by its own score's error and the mean of the others'; then
             * the exponential and a sum of weighted values, again a random walk. */
            tolerance += fabs(part) * (errors[p] + mean_error + (8 + sqrt((double)(end - start))) * CHECK_ROUNDOFF);
        }
        check_close(given->output.values[row * given->output.stride + head * size + i], expected, tolerance + 0x1p-126,
                    "[%llu, head %llu, %llu]", (unsigned long long)row, (unsigned long long)head,
                    (unsigned long long)i);
    }
}

/* What a row does not see must not reach it, be it infinite, and what it sees must: in a batch and in any cut of it. */
static void check_infinite(uint32_t shape, uint32_t kv_type, uint32_t heads, uint32_t kv_heads, uint32_t head_size,
                           uint64_t window, uint64_t period, bool has_infinite_keys) {
    check_begin("attention batch %u, %s cache, %u/%u heads of %u, window %llu, infinite %s each %llu", (unsigned)shape,
                check_type_name(kv_type), (unsigned)heads, (unsigned)kv_heads, (unsigned)head_size,
                (unsigned long long)window, has_infinite_keys ? "keys" : "values", (unsigned long long)period);
    attention_case given = {.heads = heads, .window = window};
    given.batch = check_random_batch(shape, kv_type, kv_heads, head_size);
    given.batch.infinite_period = period;
    given.batch.has_infinite_keys = has_infinite_keys;
    check_fill_caches(&given.batch, 1);
    given.queries = check_input(given.batch.tokens, heads * head_size, heads * head_size);
    if (attend(&given, (check_variation){1, 0}, 0)) {
        for (int v = -1; v < CHECK_VARIATION_COUNT; v++) {
            attention_case again = given;
            if (v >= 0 && !attend(&again, check_variations[v], 0)) continue;
            for (uint64_t at = 0; at < given.batch.tokens * given.queries.columns; at++) {
                uint64_t row = at / given.queries.columns;
                if (!isfinite(again.output.values[at]) != sees_infinite(&given, row)) {
                    check_fail("row %llu has %g", (unsigned long long)row, again.output.values[at]);
                    break;
                }
            }
        }
    }
    check_end();
}

static void check_shape(uint32_t shape, uint32_t kv_type, uint32_t heads, uint32_t kv_heads, uint32_t head_size,
                        uint64_t window, float softcap, double key_scale, uint64_t gap) {
    check_begin("attention batch %u, %s cache, %u/%u heads of %u, window %llu, softcap %g, keys %g, gap %llu",
                (unsigned)shape, check_type_name(kv_type), (unsigned)heads, (unsigned)kv_heads, (unsigned)head_size,
                (unsigned long long)window, softcap, key_scale, (unsigned long long)gap);
    attention_case given = {.heads = heads, .window = window, .softcap = softcap};
    given.batch = check_random_batch(shape, kv_type, kv_heads, head_size);
    check_fill_caches(&given.batch, key_scale);
    uint64_t tokens = given.batch.tokens, width = heads * head_size;
    given.queries = check_output(tokens, width, width + 2 * gap);
    for (uint64_t row = 0; row < tokens; row++) {
        for (uint64_t i = 0; i < width; i++)
            given.queries.values[row * given.queries.stride + i] =
                (float)(check_random_normal() / sqrt((double)head_size));
    }
    check_freeze(given.queries.values);
    if (attend(&given, (check_variation){1, 0}, gap)) {
        double *scores = malloc(2048 * sizeof *scores);
        for (uint64_t row = 0; row < tokens; row++) {
            for (uint64_t head = 0; head < heads; head++) check_head(&given, row, head, scores, scores + 1024);
        }
        free(scores);
        for (int v = 0; v < CHECK_VARIATION_COUNT && check_subject.same_bits; v++) {
            attention_case again = given;
            if (attend(&again, check_variations[v], 0)) check_same_bits(again.output, given.output, "another cut");
        }
    }
    attention_case refused = given;
    refused.refuse_scratch = true;
    attend(&refused, (check_variation){2, 0}, 0);
    check_end();
}

/* Caches that a backend cannot read: rows that are not whole blocks, a type that none are kept in, or none for one of
 * several sequences. */
static void check_refusal(uint32_t kv_type, uint32_t head_size, bool has_all) {
    check_begin("attention of a %s cache, heads of %u%s", check_type_name(kv_type), (unsigned)head_size,
                has_all ? "" : ", one missing");
    attention_case given = {.heads = 4};
    given.batch = check_random_batch(4, CABOCHON_TYPE_F32, 2, head_size);
    if (!has_all) check_fill_caches(&given.batch, 1);
    if (!has_all) given.batch.segments[0].keys = NULL;
    given.batch.kv_type = kv_type;
    given.queries = check_input(given.batch.tokens, 4 * head_size, 4 * head_size);
    if (attend(&given, (check_variation){1, 0}, 0)) check_fail("did not decline");
    check_end();
}

void check_attention(void) {
    static const uint32_t head_sizes[] = {16, 24, 64, 96, 128, 256},
                          heads[][2] = {{1, 1}, {4, 1}, {8, 4}, {3, 3}, {6, 2}};
    /* The window reaches past everything, cuts within the history, or leaves one position. */
    static const uint64_t windows[] = {0, 5, 64, 1, 4096};
    /* Keys of 1 give even weights; of 40, scores that overflow without the largest taken off. */
    static const double key_scales[] = {1, 8, 40};
    static const uint32_t kv_types[] = {CABOCHON_TYPE_F32, CABOCHON_TYPE_F16, CABOCHON_TYPE_Q8_0};
    uint32_t number = 0;
    for (uint32_t shape = 0; shape < CHECK_BATCH_COUNT; shape++) {
        for (uint32_t size = 0; size < 6; size++) {
            for (uint32_t h = 0; h < 5; h++) {
                for (uint32_t kv = 0; kv < 3; kv++) {
                    /* Rows of Q8_0 are whole blocks. */
                    if (kv_types[kv] == CABOCHON_TYPE_Q8_0 && head_sizes[size] % 32 != 0) continue;
                    check_shape(shape, kv_types[kv], heads[h][0], heads[h][1], head_sizes[size], windows[number % 5],
                                (number + number / 3) % 3 ? 50 : 0, key_scales[number / 5 % 3],
                                number % 4 == 0 ? 5 : 0);
                    number++;
                }
            }
        }
    }
    check_shape(CHECK_LONG_BATCH, CABOCHON_TYPE_F16, 16, 16, 256, 0, 50, 1, 0);
    check_shape(CHECK_LONG_BATCH, CABOCHON_TYPE_F16, 32, 16, 256, 577, 0, 8, 0);
    /* The last rows see nothing of the first 256 positions, which the first ones do. */
    check_shape(CHECK_LONG_BATCH, CABOCHON_TYPE_F16, 32, 16, 256, 300, 50, 1, 0);
    check_shape(CHECK_LONG_BATCH, CABOCHON_TYPE_Q8_0, 32, 16, 256, 577, 50, 8, 0);
    for (uint32_t kv = 0; kv < 6; kv++) {
        const uint32_t type = kv_types[kv % 3];
        const bool keys = kv >= 3;
        check_infinite(3, type, 8, 4, 64, 0, 90, keys);
        check_infinite(3, type, 4, 1, 96, 0, 70, keys);
        check_infinite(3, type, 3, 3, 128, 3, 16, keys);
        check_infinite(2, type, 6, 2, 32, 1, 4, keys);
        check_infinite(4, type, 8, 4, 64, 5, 11, keys);
        check_infinite(5, type, 1, 1, 64, 0, 303, keys);
        check_infinite(CHECK_SPAN_BATCH, type, 1, 1, 64, 0, 257, keys);
        check_infinite(CHECK_SPAN_BATCH, type, 1, 1, 32, 0, 512, keys);
        check_infinite(CHECK_LONG_BATCH, type, 32, 16, 256, 64, 101, keys);
    }
    check_refusal(CABOCHON_TYPE_Q8_0, 48, true);
    check_refusal(CABOCHON_TYPE_Q4_0, 64, true);
    check_refusal(CABOCHON_TYPE_F32, 64, false);
}
