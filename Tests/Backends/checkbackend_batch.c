/* checkbackend_batch.c - ragged batches: rows of several sequences, each with its own KV cache. */
#include "checkbackend.h"

#include <math.h>
#include <string.h>

typedef struct batch_shape {
    uint32_t segment_count;
    struct {
        uint64_t row_count, first_position;
    } segments[4];
} batch_shape;

static const batch_shape shapes[CHECK_BATCH_COUNT + 2] = {
    {1, {{1, 0}}},
    {1, {{1, 37}}},
    {1, {{17, 0}}},
    {1, {{65, 33}}},
    {3, {{1, 130}, {7, 0}, {8, 61}}},
    {2, {{3, 301}, {2, 5}}},
    {4, {{1, 3}, {1, 64}, {1, 255}, {5, 15}}},
    {2, {{1, 300}, {2, 600}}},
    {1, {{70, 540}}}, /* CHECK_LONG_BATCH */
    {2, {{1, 256}, {2, 511}}}, /* CHECK_SPAN_BATCH */
};

static size_t bytes_of(const check_batch *batch, uint64_t elements) {
    if (batch->kv_type == CABOCHON_TYPE_Q8_0) return elements / 32 * 34;
    return elements * (batch->kv_type == CABOCHON_TYPE_F16 ? 2 : 4);
}

static size_t cache_bytes(const check_batch *batch, uint64_t segment) {
    return bytes_of(batch, batch->kv_heads * batch->capacity[segment] * batch->head_size);
}

check_batch check_random_batch(uint32_t shape, uint32_t kv_type, uint32_t kv_heads, uint32_t head_size) {
    check_batch batch = {
        .segment_count = shapes[shape].segment_count, .kv_type = kv_type, .kv_heads = kv_heads, .head_size = head_size};
    for (uint32_t i = 0; i < batch.segment_count; i++) {
        uint64_t rows = shapes[shape].segments[i].row_count, position = shapes[shape].segments[i].first_position;
        batch.capacity[i] = position + rows + check_random_below(10);
        batch.segments[i] = (cabochon_segment){.first_row = batch.tokens,
                                               .row_count = rows,
                                               .first_position = position,
                                               .head_stride = batch.capacity[i] * head_size};
        batch.tokens += rows;
    }
    check_empty_caches(&batch);
    return batch;
}

void check_empty_caches(check_batch *batch) {
    for (uint32_t i = 0; i < batch->segment_count; i++) {
        batch->segments[i].keys = check_memory(cache_bytes(batch, i));
        batch->segments[i].values = check_memory(cache_bytes(batch, i));
    }
}

bool check_is_infinite(const check_batch *batch, uint64_t position) {
    return batch->infinite_period > 0 && position % batch->infinite_period == batch->infinite_period - 1;
}

/* Elements that are stored together, of about this size; of an infinite one a scale that is no number. */
static uint64_t put_block(const check_batch *batch, void *cache, uint64_t index, double size) {
    if (batch->kv_type == CABOCHON_TYPE_Q8_0) {
        unsigned char *block = (unsigned char *)cache + bytes_of(batch, index);
        uint16_t scale = check_float16((float)(size * (1 + (double)check_random_below(4)) / 127));
        if (isinf(size)) scale = 0x7e00;
        memcpy(block, &scale, sizeof scale);
        /* All codes, -128 among them, which no rounding makes but a file may hold; but not 0: where one key has all
         * the weight, a value of exactly 0 would leave what weights too small for a float add to it. */
        for (int i = 0; i < 32; i++) block[2 + i] = (unsigned char)(1 + check_random_below(255));
        return 32;
    }
    float value = (float)(size * check_random_normal());
    if (batch->kv_type == CABOCHON_TYPE_F16) ((uint16_t *)cache)[index] = check_float16(value);
    else ((float *)cache)[index] = value;
    return 1;
}

void check_fill_caches(const check_batch *batch, double key_scale) {
    for (uint64_t i = 0; i < batch->segment_count; i++) {
        const cabochon_segment *segment = &batch->segments[i];
        uint64_t filled = (segment->first_position + segment->row_count) * batch->head_size;
        for (uint64_t head = 0; head < batch->kv_heads; head++) {
            uint64_t start = head * segment->head_stride, end = start + filled;
            for (uint64_t at = start; at < end;) {
                bool is_infinite = check_is_infinite(batch, (at - start) / batch->head_size);
                uint64_t stored =
                    put_block(batch, segment->keys, at, is_infinite && batch->has_infinite_keys ? INFINITY : key_scale);
                put_block(batch, segment->values, at, is_infinite && !batch->has_infinite_keys ? INFINITY : 1);
                at += stored;
            }
        }
        check_freeze(segment->keys);
        check_freeze(segment->values);
    }
}

uint64_t check_batch_part(const check_batch *batch, uint64_t first, uint64_t count, cabochon_segment *segments) {
    uint64_t made = 0;
    /* From the last to the first: nothing says that segments come in the order of their rows. */
    for (uint64_t i = batch->segment_count; i-- > 0;) {
        cabochon_segment segment = batch->segments[i];
        uint64_t start = segment.first_row, end = segment.first_row + segment.row_count;
        if (start < first) start = first;
        if (end > first + count) end = first + count;
        if (start >= end) continue;
        segment.first_position += start - segment.first_row;
        segment.first_row = start - first;
        segment.row_count = end - start;
        segments[made++] = segment;
    }
    return made;
}

uint64_t check_segment_of(const check_batch *batch, uint64_t row) {
    uint64_t segment = 0;
    while (row >= batch->segments[segment].first_row + batch->segments[segment].row_count) segment++;
    return segment;
}

double check_cached(const check_batch *batch, uint64_t segment, const void *cache, uint64_t head, uint64_t position,
                    uint64_t element) {
    uint64_t index = head * batch->segments[segment].head_stride + position * batch->head_size + element;
    if (batch->kv_type == CABOCHON_TYPE_F16) return check_float16_value(((const uint16_t *)cache)[index]);
    if (batch->kv_type == CABOCHON_TYPE_Q8_0) {
        const unsigned char *block = (const unsigned char *)cache + bytes_of(batch, index);
        return check_cached_scale(batch, segment, cache, head, position, element) * (int8_t)block[2 + index % 32];
    }
    return ((const float *)cache)[index];
}

double check_cached_scale(const check_batch *batch, uint64_t segment, const void *cache, uint64_t head,
                          uint64_t position, uint64_t element) {
    uint64_t index = head * batch->segments[segment].head_stride + position * batch->head_size + element;
    uint16_t scale;
    memcpy(&scale, (const unsigned char *)cache + bytes_of(batch, index), sizeof scale);
    return check_float16_value(scale);
}

bool check_caches_same(const check_batch *left, const check_batch *right) {
    for (uint64_t i = 0; i < left->segment_count; i++) {
        size_t bytes = cache_bytes(left, i);
        if (memcmp(left->segments[i].keys, right->segments[i].keys, bytes) != 0) return false;
        if (memcmp(left->segments[i].values, right->segments[i].values, bytes) != 0) return false;
    }
    return true;
}

/* Byte by byte: rows of an odd number of blocks begin or end within a float. */
static bool is_untouched(const void *cache, size_t first, size_t count) {
    const uint32_t pattern = CHECK_UNTOUCHED;
    for (size_t at = first; at < first + count; at++) {
        if (((const unsigned char *)cache)[at] != ((const unsigned char *)&pattern)[at % 4]) return false;
    }
    return true;
}

void check_cache_outside(const check_batch *batch) {
    size_t row_bytes = bytes_of(batch, batch->head_size);
    for (uint64_t i = 0; i < batch->segment_count; i++) {
        const cabochon_segment *segment = &batch->segments[i];
        for (uint64_t row = 0; row < batch->kv_heads * batch->capacity[i]; row++) {
            uint64_t position = row % batch->capacity[i];
            if (position >= segment->first_position && position < segment->first_position + segment->row_count)
                continue;
            if (!is_untouched(segment->keys, row * row_bytes, row_bytes) ||
                !is_untouched(segment->values, row * row_bytes, row_bytes))
                check_fail("the cache of segment %llu was written at position %llu", (unsigned long long)i,
                           (unsigned long long)position);
        }
    }
}
