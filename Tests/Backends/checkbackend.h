/* checkbackend.h - what the parts of checkbackend share.
 *
 * One case is one call of an op (and its variations) on one set of shapes. Its buffers end at a
 * page that cannot be touched and inputs are made read-only, so a kernel that reads or writes
 * outside faults; each op is checked in a process of its own, where a fault costs that op only.
 */
#ifndef CHECKBACKEND_H
#define CHECKBACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cabochon/backend.h"

/* The unit roundoff of float32: every tolerance of exact arithmetic is a multiple of it. */
#define CHECK_ROUNDOFF 0x1p-24

/* What a kernel may do to its activations before it multiplies them with quantised weights. */
typedef enum { CHECK_FLOAT32, CHECK_INT8 } check_activations;

/* The backend under test, and the scalar library that lends the host its dequantize. */
typedef struct check_backend {
    const cabochon_backend_descriptor *descriptor;
    cabochon_backend_ops ops; /* what its struct_size covers; the rest is NULL */
    void *self;
    /* The norm op the host would use: its own, or where that is NULL the scalar backend's. */
    int32_t (*norm)(void *self, const cabochon_run *run, const cabochon_norm_args *args);
    void *norm_self;
    check_activations activations;
    uint64_t activation_block; /* columns that share an int8 scale; 0: as block_step has it */
    bool same_bits;
} check_backend;

extern check_backend check_subject;

/* The counts of one op, in memory that the op's process shares with its parent. */
typedef struct check_tally {
    uint64_t passed, failed, declined;
    double worst; /* the largest error, as a part of its tolerance */
    char worst_case[160], current_case[160];
} check_tally;

extern check_tally *check_counts;

/* Cases (checkbackend_cases.c). A case fails once, however often check_fail is called. */
void check_begin(const char *format, ...) __attribute__((format(printf, 1, 2)));
void check_end(void);
void check_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What an op returned. A case in which nothing was DONE but something DECLINED counts as declined. */
void check_returned(int32_t status);
/* Fails the case unless |got - expected| <= tolerance; NaN and infinities fail too. */
void check_close(double got, double expected, double tolerance, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Seeded random numbers; a case's depend on its number alone. */
uint64_t check_random(void);
uint64_t check_random_below(uint64_t bound);
double check_random_normal(void);

/* Memory of a case, released by check_end. Its last byte is followed by an unmapped page, so
 * it is aligned to the largest power of two that divides `bytes` (at least to `bytes` % 4096).
 * Outputs are filled with CHECK_UNTOUCHED; bytes in front are canaries. */
#define CHECK_UNTOUCHED UINT32_C(0x7fc07ed1) /* NaN as float32 and as two float16, and no arithmetic makes it */
void *check_memory(size_t bytes);
float *check_floats(uint64_t count);
void check_freeze(const void *memory); /* read-only from here on */
bool check_untouched(const float *values, uint64_t count);

/* Matrices of a case: [rows, columns] with rows `stride` apart, no gap after the last. */
typedef struct check_matrix {
    float *values;
    uint64_t rows, columns, stride;
} check_matrix;

check_matrix check_output(uint64_t rows, uint64_t columns, uint64_t stride);
/* Random rows with the worst cases among them: zeros, equal values, huge outliers, subnormals.
 * Its gaps hold NaN. Frozen. */
check_matrix check_input(uint64_t rows, uint64_t columns, uint64_t stride);
void check_gaps(check_matrix matrix, const char *name);
void check_same_bits(check_matrix got, check_matrix expected, const char *what);
/* [count] values around 1, as gains are. Frozen. */
const float *check_gain(uint64_t count);

/* Weights. */
#define CHECK_TYPE_COUNT 15
uint32_t check_type(uint32_t index);
const char *check_type_name(uint32_t type);
uint64_t check_block_columns(uint32_t type);
bool check_type_is_quantized(uint32_t type);

typedef struct check_weight {
    cabochon_weight weight;
    float *values; /* [rows, columns] dequantised by the host */
} check_weight;

/* Random blocks with sane scales, `padding` bytes between the rows. Frozen. */
check_weight check_random_weight(uint32_t type, uint64_t rows, uint64_t columns, uint64_t padding);
/* Rows of a quantised type that are all least or all greatest codes, with least and greatest scales: what integer sums
 * overflow with, if anything. Frozen. */
#define CHECK_EXTREME_ROWS 16
check_weight check_extreme_weight(uint32_t type, uint64_t columns);
/* Has the backend prepare it, where it can. */
void check_prepare(check_weight *weight);
void check_release(check_weight *weight);

/* The host (checkbackend_host.c). */
typedef struct check_run {
    cabochon_run run;
    bool refuse_scratch, scratch_refused, busy;
    uint32_t scratch_calls;
    void *scratch;
    size_t scratch_bytes;
} check_run;

const cabochon_host *check_host(void);
extern bool check_refuse_allocation, check_allocation_refused;
/* What the backend has allocated and not released. */
size_t check_live_allocations(void);
void check_set_dequantize(int32_t (*dequantize)(uint32_t, const void *, float *, size_t));
uint64_t check_cpu_features(void);
void check_run_start(check_run *run, uint32_t threads);
/* Checks what the op did with its run, and that it returned DONE or DECLINED (FAILED where
 * scratch was refused). True if it returned DONE. */
bool check_run_finish(check_run *run, int32_t status);
void check_run_abandon(check_run *run);

/* How a batch may be cut without changing a bit. */
typedef struct check_variation {
    uint32_t threads;
    uint64_t chunk; /* rows a call; 0: all */
} check_variation;

#define CHECK_VARIATION_COUNT 5
extern const check_variation check_variations[CHECK_VARIATION_COUNT];

/* The reference (checkbackend_reference.c), in double. */
void check_reference_norm(const float *input, uint64_t width, const float *gain, double epsilon, double *output);
double check_reference_softcap(double value, double cap);
double check_reference_gelu(double z);
/* A dot product with what its tolerance needs: `spread` is the standard deviation of the error
 * when the activations are rounded to `steps`. */
typedef struct check_dot {
    double value, tolerance;
} check_dot;
void check_steps(uint32_t type, const double *activations, uint64_t columns, double *steps);
check_dot check_reference_dot(const float *weights, const double *activations, const double *steps, uint64_t columns);
/* Whether an output of linear keeps what CABOCHON_BACKEND_BOUNDED_PRODUCTS promises. */
bool check_is_within_bound(uint32_t type, const float *weights, const double *activations, uint64_t columns,
                           float output);
uint16_t check_float16(float value);
double check_float16_value(uint16_t bits);

/* Where the rows of a batch belong, with a cache for each segment. */
typedef struct check_batch {
    cabochon_segment segments[4];
    uint64_t segment_count, tokens, capacity[4];
    uint32_t kv_type, kv_heads, head_size;
    /* Where not 0, values, or else keys, of each position that ends such a period are infinite, or NaN. */
    uint64_t infinite_period;
    bool has_infinite_keys;
} check_batch;

#define CHECK_BATCH_COUNT 8
/* One more: with 16 heads of 256 its caches hold more than two million elements, beyond which a backend may cut
 * a batch otherwise. */
#define CHECK_LONG_BATCH CHECK_BATCH_COUNT
/* Rows whose last position begins or ends a span of keys that attention takes together. */
#define CHECK_SPAN_BATCH (CHECK_BATCH_COUNT + 1)
/* One of these shapes, with caches full of CHECK_UNTOUCHED. */
check_batch check_random_batch(uint32_t shape, uint32_t kv_type, uint32_t kv_heads, uint32_t head_size);
void check_empty_caches(check_batch *batch);
/* Random keys and values for every position up to the last row's; the rest stays NaN. Frozen. */
void check_fill_caches(const check_batch *batch, double key_scale);
/* The segments that rows first ..< first + count see; at least as many as the batch has. */
uint64_t check_batch_part(const check_batch *batch, uint64_t first, uint64_t count, cabochon_segment *segments);
uint64_t check_segment_of(const check_batch *batch, uint64_t row);
double check_cached(const check_batch *batch, uint64_t segment, const void *cache, uint64_t head, uint64_t position,
                    uint64_t element);
/* Of the Q8_0 block that holds an element. */
double check_cached_scale(const check_batch *batch, uint64_t segment, const void *cache, uint64_t head,
                          uint64_t position, uint64_t element);
bool check_is_infinite(const check_batch *batch, uint64_t position);
bool check_caches_same(const check_batch *left, const check_batch *right);
/* Fails the case if a position that belongs to no row of the batch was written. */
void check_cache_outside(const check_batch *batch);

/* The ops. */
void check_embed(void);
void check_norm(void);
void check_linear(void);
void check_gated_linear(void);
void check_rotate(void);
void check_attention(void);
void check_softcap(void);
void check_sparse_encode(void);
void check_weights(void);

/* Times linear and gated_linear on shapes of Gemma models. */
void check_speed(void);

#endif
