/* kernels.c - the rate of a backend's linear op, type by type, without the engine around it.
 *
 *     clang -O2 -IInclude -ISources/CabochonShims/include Benchmarks/kernels.c Sources/CabochonShims/cpu.c -lpthread \
 *         -ldl -o kernels
 *     kernels LIBRARY [threads] [type ...]
 *
 * Prints, for each weight type, the bytes of the file per second that are packed, the bytes read
 * per second with one token (from memory, and a matrix that stays in the second-level cache) and
 * the integer or float operations per second with 64 and 512 tokens. Beside the bytes from memory
 * stands their share of what the same threads reach that only read the same memory: the median of
 * passes in turns, so that both meet the same minutes of a memory that others use too. */
#define _GNU_SOURCE
#include "host.h"

#include <string.h>

/* MARK: Types */

typedef struct {
    const char *name;
    uint32_t type, columns, bytes;
    int scale_at, second_scale_at; /* float16 fields of a block */
} weight_type;

static const weight_type types[] = {
    {"q8_0", CABOCHON_TYPE_Q8_0, 32, 34, 0, -1},     {"q4_0", CABOCHON_TYPE_Q4_0, 32, 18, 0, -1},
    {"q4_1", CABOCHON_TYPE_Q4_1, 32, 20, 0, 2},      {"q5_0", CABOCHON_TYPE_Q5_0, 32, 22, 0, -1},
    {"q5_1", CABOCHON_TYPE_Q5_1, 32, 24, 0, 2},      {"q2_k", CABOCHON_TYPE_Q2_K, 256, 84, 80, 82},
    {"q3_k", CABOCHON_TYPE_Q3_K, 256, 110, 108, -1}, {"q4_k", CABOCHON_TYPE_Q4_K, 256, 144, 0, 2},
    {"q5_k", CABOCHON_TYPE_Q5_K, 256, 176, 0, 2},    {"q6_k", CABOCHON_TYPE_Q6_K, 256, 210, 208, -1},
    {"iq4_nl", CABOCHON_TYPE_IQ4_NL, 32, 18, 0, -1}, {"iq4_xs", CABOCHON_TYPE_IQ4_XS, 256, 136, 0, -1},
    {"f32", CABOCHON_TYPE_F32, 1, 4, -1, -1},        {"f16", CABOCHON_TYPE_F16, 1, 2, -1, -1},
    {"bf16", CABOCHON_TYPE_BF16, 1, 2, -1, -1},
};

static void fill(uint8_t *data, size_t bytes, const weight_type *type) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        memcpy(data + i, &state, 8);
    }
    const uint16_t small = 0x1400; /* about 0.001 */
    if (type->scale_at < 0) {
        for (size_t i = 0; i + 2 <= bytes; i += 2) data[i + 1] = 0x3c;
        return;
    }
    for (size_t at = 0; at < bytes; at += type->bytes) {
        memcpy(data + at + type->scale_at, &small, 2);
        if (type->second_scale_at >= 0) memcpy(data + at + type->second_scale_at, &small, 2);
    }
}

/* Repeats for so many seconds; once for none. */
static int64_t measure_for(const cabochon_backend_ops *ops, void *self, cabochon_weight *weight, uint64_t tokens,
                           double duration, double *fastest) {
    float *input = aligned_alloc(64, tokens * weight->columns * 4);
    float *output = aligned_alloc(64, tokens * weight->rows * 4);
    for (uint64_t i = 0; i < tokens * weight->columns; i++) input[i] = (float)((i * 2654435761u) % 2001) / 1000 - 1;
    memset(output, 0, tokens * weight->rows * 4);
    const cabochon_weight *weights[1] = {weight};
    float *const outputs[1] = {output};
    const uint64_t strides[1] = {weight->rows};
    cabochon_linear_args args = {.struct_size = sizeof args,
                                 .input = input,
                                 .input_stride = weight->columns,
                                 .tokens = tokens,
                                 .weight_count = 1,
                                 .weights = weights,
                                 .outputs = outputs,
                                 .output_strides = strides};
    *fastest = 1e9;
    double until = seconds() + duration;
    int64_t status = 0;
    for (int repeat = 0; status == 0 && (repeat < (duration > 0 ? 3 : 1) || seconds() < until); repeat++) {
        double start = seconds();
        status = ops->linear(self, &run, &args);
        double took = seconds() - start;
        if (took < *fastest) *fastest = took;
    }
    free(input);
    free(output);
    return status;
}

static int64_t measure(const cabochon_backend_ops *ops, void *self, cabochon_weight *weight, uint64_t tokens,
                       double *fastest) {
    return measure_for(ops, self, weight, tokens, 0.5, fastest);
}

/* MARK: Reading alone */

typedef uint64_t words __attribute__((vector_size(64)));
typedef struct {
    const words *from;
    size_t count;
} stretch;
enum { READ_WORDS = (512 << 10) / sizeof(words) };

static void read_piece(void *context, size_t index, size_t worker) {
    (void)worker;
    const stretch *all = context;
    const size_t first = index * READ_WORDS, left = all->count - first, count = left < READ_WORDS ? left : READ_WORDS;
    words sums[4] = {{0}};
    for (size_t i = 0; i + 4 <= count; i += 4)
        for (size_t part = 0; part < 4; part++) sums[part] |= all->from[first + i + part];
    words total = sums[0] | sums[1] | sums[2] | sums[3];
    __asm__ volatile("" : : "m"(total));
}

/* The rate of one token's product as a share of the rate of reading `bytes` of file data, which lie
 * packed, or as they are, in at least as many bytes. */
static double share_of_reading(const cabochon_backend_ops *ops, void *self, cabochon_weight *weight, size_t bytes) {
    enum { TURNS = 15 };
    double shares[TURNS], product = 0;
    stretch all = {weight->prepared ? weight->prepared : weight->data, bytes / sizeof(words)};
    for (int turn = 0; turn < TURNS; turn++) {
        measure_for(ops, self, weight, 1, 0, &product);
        double start = seconds();
        parallel_for(&run, (all.count + READ_WORDS - 1) / READ_WORDS, read_piece, &all);
        shares[turn] = (seconds() - start) / product;
    }
    qsort(shares, TURNS, sizeof *shares, ascending);
    return shares[TURNS / 2];
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: kernels LIBRARY [threads] [type ...]\n"), 2;
    void *self = NULL;
    const cabochon_backend_descriptor *backend = open_backend(argv[1], &self);
    if (!backend->ops->linear) return fprintf(stderr, "%s: no linear op\n", backend->name), 1;
    start_threads(argc > 2 ? (uint32_t)atoi(argv[2]) : 2);
    printf("%s, %u threads\n", backend->name, thread_count);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const weight_type *type = &types[i];
        int wanted = argc <= 3;
        for (int a = 3; a < argc; a++) wanted |= strcmp(argv[a], type->name) == 0;
        if (!wanted) continue;
        const uint64_t columns = 2048;
        const uint64_t row_bytes = columns / type->columns * type->bytes;
        const uint64_t large = 65536;
        uint8_t *data = host_allocate(large * row_bytes);
        fill(data, large * row_bytes, type);
        cabochon_weight weight = {.struct_size = sizeof weight,
                                  .data = data,
                                  .type = type->type,
                                  .rows = large,
                                  .columns = columns,
                                  .row_bytes = row_bytes};
        /* The second time the memory is no longer new to the process. */
        double packing = 0;
        for (int time = 0; time < 2; time++) {
            if (weight.prepared) backend->ops->release_weight(self, weight.prepared);
            weight.prepared = NULL;
            double start = seconds();
            if (backend->ops->prepare_weight) backend->ops->prepare_weight(self, &run, &weight, &weight.prepared);
            packing = seconds() - start;
        }
        double one = 0, cached = 0, few = 0, many = 0;
        int64_t status = measure(backend->ops, self, &weight, 1, &one);
        double share = status ? 0 : share_of_reading(backend->ops, self, &weight, large * row_bytes);
        if (weight.prepared) backend->ops->release_weight(self, weight.prepared);
        const uint64_t rows[3] = {256, 2048, 2048}, tokens[3] = {1, 64, 512};
        double *const results[3] = {&cached, &few, &many};
        for (int size = 0; size < 3; size++) {
            weight.prepared = NULL;
            weight.rows = rows[size];
            if (backend->ops->prepare_weight) backend->ops->prepare_weight(self, &run, &weight, &weight.prepared);
            status |= measure(backend->ops, self, &weight, tokens[size], results[size]);
            if (weight.prepared) backend->ops->release_weight(self, weight.prepared);
        }
        host_release(data, large * row_bytes);
        if (status) {
            printf("%-7s declined\n", type->name);
            continue;
        }
        printf("%-7s pack %5.2f GB/s   1 token %5.1f GB/s = %.2f of reading, cached %5.1f GB/s   64 tokens %6.1f   512 "
               "tokens %6.1f GOPS\n",
               type->name, 1e-9 * (double)(large * row_bytes) / packing, 1e-9 * (double)(large * row_bytes) / one,
               share, 1e-9 * (double)(rows[0] * row_bytes) / cached, 2e-9 * 64 * (double)(rows[1] * columns) / few,
               2e-9 * 512 * (double)(rows[2] * columns) / many);
        fflush(stdout);
    }
    return 0;
}
