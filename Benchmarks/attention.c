/* attention.c - the rate of backends' attention op on one thread, without the engine around it.
 *
 *     clang -O2 -IInclude -ISources/MachineLimits/include -ISources/CabochonShims/include Benchmarks/attention.c \
 *         Sources/CabochonShims/cpu.c Sources/MachineLimits/kernels.c Sources/MachineLimits/limits.c -lpthread -ldl \
 *         -o attention
 *     attention LIBRARY ...
 *
 * The shapes are Gemma 2 2B's: 8 heads, 4 KV heads of 256, softcap 50; caches of float16, then of Q8_0. 512 rows at
 * several depths, as a prompt's chunks have them: operations a second, two for each element of a key or value that
 * a query sees, beside the float32 peak of the instructions that the backends need. One row, as a decoded token has
 * it, over the keys and values of 26 layers in turns, so that they come from memory: bytes a second beside what
 * reading alone reaches. Several libraries, of different builds, take turns; medians are printed, and whether the
 * outputs differ. */
#define _GNU_SOURCE
#include "MachineLimits.h"
#include "host.h"

#include <string.h>

enum { HEADS = 8, KV_HEADS = 4, HEAD_SIZE = 256, CAPACITY = 4096, LAYERS = 26, ROWS = 512, TURNS = 15, MOST = 8 };
enum { PLANE = KV_HEADS * CAPACITY * HEAD_SIZE };

typedef struct {
    const cabochon_backend_descriptor *backend;
    void *self;
} implementation;

static float *queries, *output, *expected;
static unsigned char *cache; /* [LAYERS, 2, KV_HEADS, CAPACITY, HEAD_SIZE] of the type */

static size_t bytes_of(uint32_t kv_type, size_t elements) {
    return kv_type == CABOCHON_TYPE_F16 ? 2 * elements : elements / 32 * 34;
}

/* Numbers of both signs. */
static void fill(uint32_t kv_type) {
    const size_t elements = 2 * LAYERS * (size_t)PLANE;
    if (kv_type == CABOCHON_TYPE_F16) {
        /* Half-precision numbers from 2^-3 to 2. */
        for (size_t i = 0; i < elements; i++) {
            uint32_t number = (uint32_t)i * 2654435761u >> 16;
            ((uint16_t *)cache)[i] = (uint16_t)((number & 0x83ff) | (12 + (number >> 10 & 3)) << 10);
        }
    } else {
        /* Scales of 2^-6, and all codes. */
        for (size_t i = 0; i < bytes_of(kv_type, elements); i++)
            cache[i] = i % 34 == 0 ? 0 : i % 34 == 1 ? 0x24 : (unsigned char)((uint32_t)i * 2654435761u >> 24);
    }
}

/* Seconds of one layer's op, the mean of `layers`; below 0 where it is declined. */
static double attend(const implementation *one, uint32_t kv_type, uint64_t rows, uint64_t depth, int layers) {
    const size_t plane = bytes_of(kv_type, PLANE);
    double start = seconds();
    for (int layer = 0; layer < layers; layer++) {
        cabochon_segment segment = {.row_count = rows,
                                    .first_position = depth,
                                    .keys = cache + 2 * plane * (size_t)layer,
                                    .values = cache + 2 * plane * (size_t)layer + plane,
                                    .head_stride = CAPACITY * HEAD_SIZE};
        cabochon_attention_args args = {.struct_size = sizeof args,
                                        .queries = queries,
                                        .query_stride = HEADS * HEAD_SIZE,
                                        .tokens = rows,
                                        .heads = HEADS,
                                        .kv_heads = KV_HEADS,
                                        .head_size = HEAD_SIZE,
                                        .kv_type = kv_type,
                                        .softcap = 50,
                                        .segments = &segment,
                                        .segment_count = 1,
                                        .output = output,
                                        .output_stride = HEADS * HEAD_SIZE};
        if (one->backend->ops->attention(one->self, &run, &args) != 0) return -1;
    }
    return (seconds() - start) / layers;
}

/* Medians of all implementations, in turns. */
static int compare(implementation *all, int count, char **names, uint32_t kv_type, uint64_t rows, uint64_t depth,
                   double limit) {
    double times[MOST][TURNS];
    int same = 1;
    for (int turn = 0; turn < TURNS; turn++) {
        for (int place = 0; place < count; place++) {
            int number = turn % 2 ? count - 1 - place : place;
            times[number][turn] = attend(&all[number], kv_type, rows, depth, rows == 1 ? LAYERS : 1);
            if (times[number][turn] < 0) return fprintf(stderr, "%s declined\n", names[number]), 1;
            const size_t bytes = rows * HEADS * HEAD_SIZE * sizeof(float);
            if (turn + place == 0) memcpy(expected, output, bytes);
            same &= memcmp(expected, output, bytes) == 0;
        }
    }
    for (int number = 0; number < count; number++) {
        qsort(times[number], TURNS, sizeof(double), ascending);
        const double median = times[number][TURNS / 2];
        const double seen = (double)rows * (double)depth + (double)rows * (double)(rows + 1) / 2;
        const double read = (double)(depth + 1) * 2 * (double)bytes_of(kv_type, KV_HEADS * HEAD_SIZE);
        const double amount = rows == 1 ? read : seen * 4 * HEADS * HEAD_SIZE;
        printf("%s  %4llu rows at %4llu  %8.3f ms  %6.1f %s  %3.0f %%  %s\n",
               kv_type == CABOCHON_TYPE_F16 ? "f16 " : "q8_0", (unsigned long long)rows, (unsigned long long)depth,
               1e3 * median, 1e-9 * amount / median, rows == 1 ? "GB/s  " : "GFLOPS", 100 * amount / median / limit,
               names[number]);
    }
    if (!same) printf("                       with other bits\n");
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    const int count = argc - 1;
    if (count < 1 || count > MOST) return fprintf(stderr, "usage: attention LIBRARY ... (up to %d)\n", MOST), 2;
    implementation all[MOST] = {0};
    start_threads(1);
    for (int number = 0; number < count; number++)
        if (!(all[number].backend = open_backend(argv[number + 1], &all[number].self))->ops->attention)
            return fprintf(stderr, "%s: no attention op\n", argv[number + 1]), 1;
    queries = aligned_alloc(64, sizeof(float) * ROWS * HEADS * HEAD_SIZE);
    output = aligned_alloc(64, sizeof(float) * ROWS * HEADS * HEAD_SIZE);
    expected = aligned_alloc(64, sizeof(float) * ROWS * HEADS * HEAD_SIZE);
    cache = aligned_alloc(64, bytes_of(CABOCHON_TYPE_F16, 2 * LAYERS * (size_t)PLANE));
    if (!queries || !output || !expected || !cache) return fprintf(stderr, "not enough memory\n"), 1;
    for (uint32_t i = 0; i < ROWS * HEADS * HEAD_SIZE; i++)
        queries[i] = (float)(i * 2654435761u >> 20) / 16384 - 0.125f;
    cabochon_limits limits;
    uint64_t features = 0;
    for (int number = 0; number < count; number++) features |= all[number].backend->cpu_features;
    if (cabochon_limits_measure(1, features, &limits) != 0) return fprintf(stderr, "limits not measured\n"), 1;
    printf("one thread: %.1f GFLOPS float32, reading %.1f GB/s\n", 1e-9 * limits.f32_operations,
           1e-9 * limits.read_bytes);
    const uint32_t kv_types[] = {CABOCHON_TYPE_F16, CABOCHON_TYPE_Q8_0};
    const uint64_t depths[] = {0, 1536, 3584};
    for (int type = 0; type < 2; type++) {
        fill(kv_types[type]);
        for (int i = 0; i < 3; i++) {
            if (compare(all, count, argv + 1, kv_types[type], ROWS, depths[i], limits.f32_operations)) return 1;
        }
        if (compare(all, count, argv + 1, kv_types[type], 1, 3584, limits.read_bytes)) return 1;
    }
    return 0;
}
