/* counting_plugin.c - a backend that counts the weights which it prepares and releases.
 *
 * The test that asks it builds it (Tests/Python/test_backends.py). What it prepares of Q8_0 are float32
 * values, from which it computes; that is all a screen of the head needs. Of other types it keeps
 * nothing, and the host computes from the file.
 */
#include "cabochon/backend.h"

#include <stdlib.h>

/* Read by the test, while no call is under way. */
__attribute__((visibility("default"))) uint64_t counting_prepared, counting_released, counting_screens;

static const cabochon_host *the_host;

static int32_t create(const cabochon_host *host, void **out_self) {
    the_host = host;
    *out_self = NULL;
    return 0;
}

static int32_t prepare_weight(void *self, const cabochon_run *run, const cabochon_weight *weight, void **out_prepared) {
    (void)self;
    (void)run;
    const int is_screen = weight->type == CABOCHON_TYPE_Q8_0;
    float *values = malloc(is_screen ? weight->rows * weight->columns * sizeof *values : 1);
    if (values == NULL) return CABOCHON_OP_FAILED;
    for (uint64_t row = 0; is_screen && row < weight->rows; row++)
        the_host->dequantize(weight->type, (const char *)weight->data + row * weight->row_bytes,
                             values + row * weight->columns, weight->columns);
    counting_prepared++;
    counting_screens += is_screen;
    *out_prepared = values;
    return CABOCHON_OP_DONE;
}

static void release_weight(void *self, void *prepared) {
    (void)self;
    free(prepared);
    counting_released++;
}

static int32_t linear(void *self, const cabochon_run *run, const cabochon_linear_args *args) {
    (void)self;
    (void)run;
    for (uint32_t i = 0; i < args->weight_count; i++)
        if (args->weights[i]->prepared == NULL || args->weights[i]->type != CABOCHON_TYPE_Q8_0 || args->norm_gain)
            return CABOCHON_OP_DECLINED;
    for (uint32_t i = 0; i < args->weight_count; i++) {
        const cabochon_weight *weight = args->weights[i];
        for (uint64_t token = 0; token < args->tokens; token++)
            for (uint64_t row = 0; row < weight->rows; row++) {
                const float *values = (const float *)weight->prepared + row * weight->columns;
                const float *input = args->input + token * args->input_stride;
                double sum = 0;
                for (uint64_t column = 0; column < weight->columns; column++) sum += values[column] * input[column];
                args->outputs[i][token * args->output_strides[i] + row] = (float)sum;
            }
    }
    return CABOCHON_OP_DONE;
}

static const cabochon_backend_ops ops = {
    .struct_size = sizeof ops,
    .create = create,
    .prepare_weight = prepare_weight,
    .release_weight = release_weight,
    .linear = linear,
};

const cabochon_backend_descriptor cabochon_backend_v1 = {
    .magic = CABOCHON_BACKEND_MAGIC,
    .abi_major = CABOCHON_BACKEND_ABI_MAJOR,
    .abi_minor = CABOCHON_BACKEND_ABI_MINOR,
    .struct_size = sizeof(cabochon_backend_descriptor),
    .priority = -1,
    .flags = CABOCHON_BACKEND_SAME_BITS | CABOCHON_BACKEND_BOUNDED_PRODUCTS,
    .name = "counting",
    .version = "1.0.0",
    .ops = &ops,
};
