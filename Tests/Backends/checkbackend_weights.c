/* checkbackend_weights.c - random weights of every type, and the ops that prepare them. */
#include "checkbackend.h"

#include <stdlib.h>
#include <string.h>

/* Where a block of a type keeps its float16 scales: everything else in it may be random bits. */
typedef struct block_layout {
    uint32_t type;
    const char *name;
    uint16_t columns, bytes;
    int16_t scale, second_scale; /* offsets; -1: none */
    uint16_t integers, integer_bytes; /* offset and size of its parts' integer scales */
} block_layout;

static const block_layout layouts[CHECK_TYPE_COUNT] = {
    {CABOCHON_TYPE_F32, "F32", 1, 4, -1, -1, 0, 0},           {CABOCHON_TYPE_F16, "F16", 1, 2, -1, -1, 0, 0},
    {CABOCHON_TYPE_BF16, "BF16", 1, 2, -1, -1, 0, 0},         {CABOCHON_TYPE_Q4_0, "Q4_0", 32, 18, 0, -1, 0, 0},
    {CABOCHON_TYPE_Q4_1, "Q4_1", 32, 20, 0, 2, 0, 0},         {CABOCHON_TYPE_Q5_0, "Q5_0", 32, 22, 0, -1, 0, 0},
    {CABOCHON_TYPE_Q5_1, "Q5_1", 32, 24, 0, 2, 0, 0},         {CABOCHON_TYPE_Q8_0, "Q8_0", 32, 34, 0, -1, 0, 0},
    {CABOCHON_TYPE_Q2_K, "Q2_K", 256, 84, 80, 82, 0, 16},     {CABOCHON_TYPE_Q3_K, "Q3_K", 256, 110, 108, -1, 96, 12},
    {CABOCHON_TYPE_Q4_K, "Q4_K", 256, 144, 0, 2, 4, 12},      {CABOCHON_TYPE_Q5_K, "Q5_K", 256, 176, 0, 2, 4, 12},
    {CABOCHON_TYPE_Q6_K, "Q6_K", 256, 210, 208, -1, 192, 16}, {CABOCHON_TYPE_IQ4_NL, "IQ4_NL", 32, 18, 0, -1, 0, 0},
    {CABOCHON_TYPE_IQ4_XS, "IQ4_XS", 256, 136, 0, -1, 2, 6},
};

static const block_layout *layout_of(uint32_t type) {
    for (int i = 0; i < CHECK_TYPE_COUNT; i++) {
        if (layouts[i].type == type) return &layouts[i];
    }
    return NULL;
}

uint32_t check_type(uint32_t index) { return layouts[index].type; }
const char *check_type_name(uint32_t type) { return layout_of(type)->name; }
uint64_t check_block_columns(uint32_t type) { return layout_of(type)->columns; }
bool check_type_is_quantized(uint32_t type) { return layout_of(type)->columns > 1; }

static void put_scale(unsigned char *at) {
    uint64_t kind = check_random_below(32);
    /* Now and then a scale is zero or subnormal; either sign is legal. */
    double scale = kind == 0 ? 0 : kind == 1 ? 3e-7 : 0.01 * check_random_normal();
    uint16_t bits = check_float16((float)scale);
    memcpy(at, &bits, sizeof bits);
}

/* is_brain_float: F32 and F16 hold numbers of bfloat16, as files converted from it do. */
static void put_block(const block_layout *layout, unsigned char *at, bool is_brain_float) {
    if (layout->columns > 1) {
        for (uint16_t i = 0; i < layout->bytes; i++) at[i] = (unsigned char)(check_random() >> 56);
        put_scale(at + layout->scale);
        if (layout->second_scale >= 0) put_scale(at + layout->second_scale);
        return;
    }
    float value = (float)(0.05 * check_random_normal());
    /* Now and then a zero, a subnormal, one far larger than all others, or far smaller. */
    static const float rare[] = {0, -0.0f, 1e-40f, -2e-39f, 3, -2, 3e-8f, -2e-12f};
    bool has_rare = layout->type == CABOCHON_TYPE_BF16 || (is_brain_float && layout->type == CABOCHON_TYPE_F32);
    if (has_rare && check_random_below(128) == 0)
        value = rare[check_random_below(128) < 64 ? check_random_below(2) : check_random_below(8)];
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (is_brain_float) bits &= 0xffff0000;
    memcpy(&value, &bits, sizeof value);
    uint16_t half = layout->type == CABOCHON_TYPE_F16 ? check_float16(value) : (uint16_t)(bits >> 16);
    if (layout->type == CABOCHON_TYPE_F32) memcpy(at, &bits, sizeof bits);
    else memcpy(at, &half, sizeof half);
}

/* Codes and integer scales of one bit pattern each, which the row chooses. */
static void put_extreme_block(const block_layout *layout, unsigned char *at, uint64_t row) {
    static const unsigned char patterns[4] = {0x00, 0xff, 0x80, 0x7f};
    const uint16_t scale = check_float16(0.01f);
    memset(at, patterns[row % 4], layout->bytes);
    memset(at + layout->integers, patterns[row / 4 % 4], layout->integer_bytes);
    memcpy(at + layout->scale, &scale, sizeof scale);
    if (layout->second_scale >= 0) memcpy(at + layout->second_scale, &scale, sizeof scale);
}

static check_weight weight_of(uint32_t type, uint64_t rows, uint64_t columns, uint64_t padding, bool is_extreme) {
    const block_layout *layout = layout_of(type);
    uint64_t used = columns / layout->columns * layout->bytes, row_bytes = used + padding;
    unsigned char *data = check_memory((rows - 1) * row_bytes + used);
    check_weight made = {.weight = {.struct_size = sizeof(cabochon_weight),
                                    .data = data,
                                    .type = type,
                                    .rows = rows,
                                    .columns = columns,
                                    .row_bytes = row_bytes},
                         .values = check_floats(rows * columns)};
    bool is_brain_float = check_random_below(2) == 0;
    for (uint64_t row = 0; row < rows; row++) {
        unsigned char *at = data + row * row_bytes;
        for (uint64_t column = 0; column < columns; column += layout->columns, at += layout->bytes) {
            if (is_extreme) put_extreme_block(layout, at, row);
            else put_block(layout, at, is_brain_float);
        }
        if (check_host()->dequantize(type, data + row * row_bytes, made.values + row * columns, columns) != 0)
            check_fail("the host's dequantize does not know %s", layout->name);
    }
    check_freeze(data);
    check_freeze(made.values);
    return made;
}

check_weight check_random_weight(uint32_t type, uint64_t rows, uint64_t columns, uint64_t padding) {
    return weight_of(type, rows, columns, padding, false);
}

check_weight check_extreme_weight(uint32_t type, uint64_t columns) {
    return weight_of(type, CHECK_EXTREME_ROWS, columns, 0, true);
}

void check_prepare(check_weight *weight) {
    if (check_subject.ops.prepare_weight == NULL) return;
    check_run run;
    check_run_start(&run, 2);
    void *prepared = NULL;
    int32_t status = check_subject.ops.prepare_weight(check_subject.self, &run.run, &weight->weight, &prepared);
    check_run_abandon(&run);
    if (status == CABOCHON_OP_DONE) weight->weight.prepared = prepared;
    else if (status != CABOCHON_OP_DECLINED) check_fail("prepare_weight returned %d", (int)status);
    else if (prepared != NULL) check_fail("prepare_weight declined and set out_prepared");
}

void check_release(check_weight *weight) {
    if (weight->weight.prepared == NULL) return;
    if (check_subject.ops.release_weight == NULL) check_fail("prepare_weight without release_weight");
    else check_subject.ops.release_weight(check_subject.self, weight->weight.prepared);
    weight->weight.prepared = NULL;
}

/* Preparing a weight without memory fails cleanly, and again with memory succeeds. */
void check_weights(void) {
    for (uint32_t i = 0; i < CHECK_TYPE_COUNT; i++) {
        check_begin("prepare_weight %s 33x768, memory refused", layouts[i].name);
        check_weight weight = check_random_weight(layouts[i].type, 33, 768, 0);
        check_run run;
        check_run_start(&run, 2);
        run.refuse_scratch = true;
        check_refuse_allocation = true;
        check_allocation_refused = false;
        void *prepared = NULL;
        int32_t status = check_subject.ops.prepare_weight(check_subject.self, &run.run, &weight.weight, &prepared);
        check_refuse_allocation = false;
        check_run_abandon(&run);
        if ((check_allocation_refused || run.scratch_refused) && status != CABOCHON_OP_FAILED)
            check_fail("returned %d though memory was refused", (int)status);
        if (status == CABOCHON_OP_DONE) check_subject.ops.release_weight(check_subject.self, prepared);
        check_end();

        check_begin("prepare_weight %s 33x768", layouts[i].name);
        weight = check_random_weight(layouts[i].type, 33, 768, 6);
        size_t before = check_live_allocations();
        check_prepare(&weight);
        check_returned(weight.weight.prepared == NULL ? CABOCHON_OP_DECLINED : CABOCHON_OP_DONE);
        check_release(&weight);
        if (check_live_allocations() != before) check_fail("what prepare_weight allocated is not released");
        check_end();
    }
}
