/* cabochon/backend.h - what a compute backend is to Cabochon.
 *
 * A backend is a shared library `libcabochon-NAME.so` that exports one constant,
 *
 *     const cabochon_backend_descriptor cabochon_backend_v1;
 *
 * and runs no code of its own until the host calls it: no constructors, no threads, no globals
 * written. The host reads the descriptor first (magic, version, size, the CPU features that the
 * kernels need) and calls into the table only when all of them fit. Whatever the table leaves
 * NULL, and whatever an op declines for its types or shapes, the host's scalar backend computes;
 * a backend may therefore be as small as one function (Examples/backend).
 *
 * Tensors are row-major float32 unless said otherwise; `tokens` rows of one call may belong to
 * several sequences. Pointers are valid for the call only. Outputs never overlap inputs unless an
 * op says so. Rows are `*_stride` floats apart.
 *
 * The same bits: each output element must be reduced in an order that depends on nothing but its
 * own inputs: not on the number of threads, nor on `tokens`, nor on the other rows. So a prompt
 * in chunks, a batch and a single token agree exactly. A backend that cannot promise this leaves
 * CABOCHON_BACKEND_SAME_BITS out of its descriptor's flags (BLAS).
 *
 * Return values of every op: CABOCHON_OP_DONE, CABOCHON_OP_DECLINED (nothing has been written;
 * the scalar backend takes over) or CABOCHON_OP_FAILED (a scratch allocation was refused).
 *
 * Growth: structs only gain fields at their end; struct_size tells each side what the other knows.
 * Those of minor version 0, as below, are the least that either side gives; what later ones add a
 * backend must not read past the struct_size it is given.
 */
#ifndef CABOCHON_BACKEND_H
#define CABOCHON_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CABOCHON_BACKEND_MAGIC ((uint64_t)0x316e6f68636f6263) /* the bytes "cbochon1" */
#define CABOCHON_BACKEND_ABI_MAJOR 1
#define CABOCHON_BACKEND_ABI_MINOR 0

/* Descriptor flags. */
#define CABOCHON_BACKEND_SAME_BITS ((uint32_t)1)
#define CABOCHON_BACKEND_SCREENS ((uint32_t)2) /* its sparse_encode makes use of the screen */
/* linear keeps to a bound, so that a cheaper copy of a matrix can tell which of its products are small:
 * an output lies within columns * (2^-23 * |w| |x'| + 2^-120 * (1 + |w| + |x'|)) of w . x' (|v| is a vector's
 * length), where x' is x itself, or
 *     weights of F32, F16, BF16: x rounded to bfloat16, to nearest even;
 *     of Q8_0: in each aligned block of 32 columns the nearest multiples of M / 127, where M is the largest
 *     magnitude in the block; either one where x lies within 2^-15 of them from halfway.
 * Other types promise nothing. And prepare_weight takes Q8_0, and linear a Q8_0 weight that is prepared and whose
 * data is NULL; weights of F32, F16 and BF16 give the same bits prepared or not. */
#define CABOCHON_BACKEND_BOUNDED_PRODUCTS ((uint32_t)4)

/* CPU features (processor and operating system both allow them). */
#define CABOCHON_CPU_AVX2 ((uint64_t)0x1) /* and BMI1, BMI2, LZCNT and MOVBE, as x86-64-v3 has them */
#define CABOCHON_CPU_FMA ((uint64_t)0x2)
#define CABOCHON_CPU_F16C ((uint64_t)0x4)
#define CABOCHON_CPU_AVX512 ((uint64_t)0x8) /* F, BW, CD, DQ and VL */
#define CABOCHON_CPU_AVX512_VNNI ((uint64_t)0x10)
#define CABOCHON_CPU_AVX512_BF16 ((uint64_t)0x20)
#define CABOCHON_CPU_AVX512_VBMI ((uint64_t)0x40)
#define CABOCHON_CPU_AVX_VNNI ((uint64_t)0x80)
#define CABOCHON_CPU_AMX_INT8 ((uint64_t)0x100) /* a process has yet to ask the system for tiles */
#define CABOCHON_CPU_AMX_BF16 ((uint64_t)0x200)
#define CABOCHON_CPU_NEON ((uint64_t)0x100000000)
#define CABOCHON_CPU_DOTPROD ((uint64_t)0x200000000)

/* Types of weights: the numbers and block layouts of GGUF files. */
#define CABOCHON_TYPE_F32 ((uint32_t)0)
#define CABOCHON_TYPE_F16 ((uint32_t)1)
#define CABOCHON_TYPE_Q4_0 ((uint32_t)2)
#define CABOCHON_TYPE_Q4_1 ((uint32_t)3)
#define CABOCHON_TYPE_Q5_0 ((uint32_t)6)
#define CABOCHON_TYPE_Q5_1 ((uint32_t)7)
#define CABOCHON_TYPE_Q8_0 ((uint32_t)8)
#define CABOCHON_TYPE_Q2_K ((uint32_t)10)
#define CABOCHON_TYPE_Q3_K ((uint32_t)11)
#define CABOCHON_TYPE_Q4_K ((uint32_t)12)
#define CABOCHON_TYPE_Q5_K ((uint32_t)13)
#define CABOCHON_TYPE_Q6_K ((uint32_t)14)
#define CABOCHON_TYPE_IQ4_NL ((uint32_t)20)
#define CABOCHON_TYPE_IQ4_XS ((uint32_t)23)
#define CABOCHON_TYPE_BF16 ((uint32_t)30)

#define CABOCHON_OP_DONE ((int32_t)0)
#define CABOCHON_OP_DECLINED ((int32_t)1)
#define CABOCHON_OP_FAILED ((int32_t)-1)

/* One call's hold on the host. Owned by the host; used on the calling thread only, except that
 * bodies run on the pool's threads. */
typedef struct cabochon_run {
    size_t struct_size;
    void *host;
    /* Threads of the pool that may run bodies at once, the caller's included; at least 1. */
    uint32_t thread_count;
    uint32_t reserved_;
    /* Calls body(context, index, worker) once for each index below count, spread over the pool,
     * and returns when all are done. A thread goes through neighbouring indices in ascending order,
     * but for those that it takes over from others at the end. worker is below thread_count and no
     * two bodies running at the same time share one: it picks a part of the scratch. Bodies must
     * not call parallel_for. */
    void (*parallel_for)(const struct cabochon_run *run, size_t count,
                         void (*body)(void *context, size_t index, size_t worker), void *context);
    /* `bytes` of uninitialised memory, aligned to 64, that stay valid until the op returns or asks
     * again; NULL if refused. One call per op. */
    void *(*scratch)(const struct cabochon_run *run, size_t bytes);
} cabochon_run;

/* What the host lends to a backend for as long as the process lives. */
typedef struct cabochon_host {
    size_t struct_size;
    uint32_t abi_major, abi_minor;
    uint64_t cpu_features;
    /* Zeroed memory aligned to 64 that takes physical pages where it is touched; NULL if refused.
     * Any thread. */
    void *(*allocate)(size_t bytes);
    void (*release)(void *memory, size_t bytes);
    /* Turns `count` values of a weight type (a whole number of blocks) into float32, with the
     * exact bits of the format's reference. Returns 0, or -1 for an unknown type. Any thread. */
    int32_t (*dequantize)(uint32_t type, const void *source, float *destination, size_t count);
} cabochon_host;

/* A weight matrix as its file holds it: `rows` outputs by `columns` inputs. */
typedef struct cabochon_weight {
    size_t struct_size;
    const void *data; /* [rows, columns] of `type`, rows are row_bytes apart; alignment 1 is legal. NULL where
                       * CABOCHON_BACKEND_BOUNDED_PRODUCTS says so, and nowhere else */
    uint32_t type;    /* CABOCHON_TYPE_ */
    uint32_t reserved_;
    uint64_t rows, columns, row_bytes;
    /* What prepare_weight made of it, or NULL where the backend has no prepare_weight or declined. */
    void *prepared;
} cabochon_weight;

/* One sequence's share of a batch, and its KV cache in one layer. Keys and values are
 * [kv_heads, capacity, head_size] of kv_type; a head's rows are position after position. Rows of
 * CABOCHON_TYPE_Q8_0 are head_size / 32 blocks of 34 bytes: a float16 scale, then 32 signed bytes. */
typedef struct cabochon_segment {
    uint64_t first_row;      /* its rows of the batch are first_row ..< first_row + row_count */
    uint64_t row_count;      /* at least 1 */
    uint64_t first_position; /* the position of its first row; the others follow one by one */
    void *keys, *values;
    uint64_t head_stride;    /* elements from one KV head to the next: capacity * head_size */
} cabochon_segment;

/* output[t, :] = scale * row ids[t] of the embedding. ids are below embedding->rows. */
typedef struct cabochon_embed_args {
    size_t struct_size;
    const cabochon_weight *embedding; /* [vocabulary, width] */
    const int32_t *ids;               /* [tokens] */
    uint64_t tokens;
    float scale;
    float *output; /* [tokens, width] */
    uint64_t output_stride;
} cabochon_embed_args;

/* normalized = input / sqrt(mean(input^2) + epsilon) * gain, row by row.
 * Where residual is not NULL: residual += normalized (output may then be NULL). */
typedef struct cabochon_norm_args {
    size_t struct_size;
    const float *input; /* [tokens, width] */
    uint64_t input_stride, tokens, width;
    const float *gain; /* [width], or NULL for 1; "1 + w" has been folded in by the loader */
    float epsilon;
    float *output; /* [tokens, width] or NULL; may be input */
    uint64_t output_stride;
    float *residual; /* [tokens, width] or NULL */
    uint64_t residual_stride;
} cabochon_norm_args;

/* outputs[i][t, r] = sum over c of weights[i][r, c] * x[t, c], for every i: the weights share
 * columns and input. x is input, or where norm_gain is not NULL the norm of input with that gain
 * and epsilon (the same bits as the norm op). */
typedef struct cabochon_linear_args {
    size_t struct_size;
    const float *input; /* [tokens, columns] */
    uint64_t input_stride, tokens;
    const float *norm_gain; /* [columns] or NULL */
    float norm_epsilon;
    uint32_t weight_count; /* 1 ... 4 */
    const cabochon_weight *const *weights;
    float *const *outputs;          /* outputs[i] is [tokens, weights[i]->rows] */
    const uint64_t *output_strides; /* [weight_count] */
} cabochon_linear_args;

/* output[t, r] = gelu_tanh(gate[r] . x[t]) * (up[r] . x[t]); input and norm as in linear.
 * gelu_tanh(z) = z/2 * (1 + tanh(sqrt(2/pi) * (z + 0.044715 z^3))). */
typedef struct cabochon_gated_linear_args {
    size_t struct_size;
    const float *input; /* [tokens, columns] */
    uint64_t input_stride, tokens;
    const float *norm_gain; /* [columns] or NULL */
    float norm_epsilon;
    uint32_t reserved_;
    const cabochon_weight *gate, *up; /* [width, columns], the same shape, maybe of two types */
    float *output;                    /* [tokens, width] */
    uint64_t output_stride;
} cabochon_gated_linear_args;

/* Gives queries and keys their norm (where a gain is given) and their rotary position, scales the
 * queries, and files keys and values in the cache at their positions. Rotation pairs element i of
 * a head with i + head_size/2: (a, b) -> (a cos - b sin, b cos + a sin). Values are stored as they
 * are. Rounding to float16 is to nearest even. A Q8_0 block's scale is its largest magnitude / 127
 * in float16, at most 65504; its bytes, -127 to 127, are the nearest to element / scale, or 0 where
 * the scale is 0. Where an element is not finite, the scale is NaN and the bytes say nothing. */
typedef struct cabochon_rotate_args {
    size_t struct_size;
    float *queries;      /* [tokens, heads, head_size], changed in place */
    const float *keys;   /* [tokens, kv_heads, head_size] */
    const float *values; /* [tokens, kv_heads, head_size] */
    uint64_t query_stride, key_stride, value_stride;
    const float *query_gain, *key_gain; /* [head_size], both or neither NULL */
    float epsilon;
    float query_scale; /* multiplies the rotated query */
    const float *cosines, *sines; /* [tokens, head_size / 2] */
    uint64_t tokens;
    uint32_t heads, kv_heads, head_size;
    uint32_t kv_type; /* CABOCHON_TYPE_F32, _F16 or _Q8_0; a backend declines what it doesn't know */
    const cabochon_segment *segments;
    uint64_t segment_count;
} cabochon_rotate_args;

/* Causal attention of each row over its own sequence, its own position included:
 *     score[p] = query . key[p];  softcap > 0: score = softcap * tanh(score / softcap)
 *     output = sum over p of softmax(score)[p] * value[p]
 * Query head h reads KV head h / (heads / kv_heads). window > 0: only positions p with
 * position - p < window take part. */
typedef struct cabochon_attention_args {
    size_t struct_size;
    const float *queries; /* [tokens, heads, head_size], rotated and scaled */
    uint64_t query_stride, tokens;
    uint32_t heads, kv_heads, head_size;
    uint32_t kv_type;
    uint64_t window;
    float softcap;
    uint32_t reserved_;
    const cabochon_segment *segments;
    uint64_t segment_count;
    float *output; /* [tokens, heads * head_size] */
    uint64_t output_stride;
} cabochon_attention_args;

/* values[i] = cap * tanh(values[i] / cap), in place. */
typedef struct cabochon_softcap_args {
    size_t struct_size;
    float *values; /* [count] */
    uint64_t count;
    float cap;
} cabochon_softcap_args;

/* Which of a block of features of a sparse autoencoder fire, and how strongly:
 *     pre = rows[f] . input[t] + bias[f];    f fires for t where pre > threshold[f], with value pre
 * The product is float32 with every product and every sum rounded (no fused multiply-add): sixteen
 * partial sums (column modulo 16) in ascending order, then halves are added (8 and 8, 4 and 4, 2
 * and 2, 1 and 1), then bias. So every backend gives the same bits. Runs on the calling thread
 * alone: the host calls it for many blocks at the same time, and gives no run.
 *
 * The screen lets a backend pass over features without that product. Where `codes` is not NULL (the
 * descriptor has CABOCHON_BACKEND_SCREENS), feature f cannot fire for token t unless
 *     scale[f] * input_scale[t] * dot + error[f] * input_norm[t] + norm[f] * input_error[t] > bar[f]
 * with dot = sum over columns c of code(f, c) * (256 * high[t, c] + low[t, c]), an exact integer;
 * where planes is 1, low may be left out. An unordered comparison means that it may fire. The bound has
 * room for the rounding of these float32 operations (dot may be 256 H + L of two rounded floats). */
typedef struct cabochon_sparse_encode_args {
    size_t struct_size;
    const float *input; /* [tokens, columns], aligned to 64 */
    uint64_t tokens;
    uint64_t columns;   /* a multiple of 16; inputs and rows are padded with zeros */
    const float *rows;  /* [features, columns], aligned to 64 */
    const float *bias, *threshold; /* [features] */
    uint64_t features;
    uint32_t *indices;  /* [tokens, features]: of the features that fire, from 0, ascending */
    float *values;      /* [tokens, features] */
    uint32_t *counts;   /* [tokens] */

    const uint8_t *codes; /* 128 + code: [features / 16, columns / 4, 16, 4], features padded to 32 */
    const float *scale, *error, *norm, *bar; /* [features, padded to 32] */
    const int8_t *high, *low;         /* [tokens, columns] */
    const int32_t *high_sum, *low_sum; /* [tokens]: sums of their rows */
    const float *input_scale, *input_norm, *input_error; /* [tokens] */
    uint64_t planes; /* 1 or 2 */

    /* Of a large mapped file scattered rows are dear to touch, and the host lends a reader instead: the row
     * of feature f, put in buffer ([columns]) or lying elsewhere. NULL: rows are read where they lie, which
     * a backend may do in any case. Called on the calling thread. row_buffers: [4, columns], aligned to 64. */
    const float *(*read_row)(void *row_context, uint64_t feature, float *buffer);
    void *row_context;
    float *row_buffers;

    /* With `codes`, for backends that multiply words: 256 * high + low, whatever planes is. [tokens, columns] */
    const int16_t *numbers;
} cabochon_sparse_encode_args;

/* Every entry may be NULL. `self` is what create returned (NULL without create). Ops of one
 * backend run on several threads at the same time, each with its own run. */
typedef struct cabochon_backend_ops {
    size_t struct_size;
    /* Called once per process, before any other. Returns 0, or -1: the backend is then unusable.
     * The host outlives it. Must not fork(). */
    int32_t (*create)(const cabochon_host *host, void **out_self);
    /* Makes the backend's own copy of a weight, in parallel, once; weight->prepared is NULL.
     * DONE with *out_prepared set, DECLINED to compute from weight->data, FAILED without memory. */
    int32_t (*prepare_weight)(void *self, const cabochon_run *run, const cabochon_weight *weight, void **out_prepared);
    void (*release_weight)(void *self, void *prepared);
    int32_t (*embed)(void *self, const cabochon_run *run, const cabochon_embed_args *args);
    int32_t (*norm)(void *self, const cabochon_run *run, const cabochon_norm_args *args);
    int32_t (*linear)(void *self, const cabochon_run *run, const cabochon_linear_args *args);
    int32_t (*gated_linear)(void *self, const cabochon_run *run, const cabochon_gated_linear_args *args);
    int32_t (*rotate)(void *self, const cabochon_run *run, const cabochon_rotate_args *args);
    int32_t (*attention)(void *self, const cabochon_run *run, const cabochon_attention_args *args);
    int32_t (*softcap)(void *self, const cabochon_run *run, const cabochon_softcap_args *args);
    int32_t (*sparse_encode)(void *self, const cabochon_sparse_encode_args *args);
} cabochon_backend_ops;

typedef struct cabochon_backend_descriptor {
    uint64_t magic;                /* CABOCHON_BACKEND_MAGIC */
    uint32_t abi_major, abi_minor; /* of the header it was compiled with */
    size_t struct_size;            /* sizeof(cabochon_backend_descriptor) */
    uint64_t cpu_features;         /* all of these must be present */
    int32_t priority;              /* the fittest with the highest is the default; scalar is 0 */
    uint32_t flags;                /* CABOCHON_BACKEND_SAME_BITS, _SCREENS, _BOUNDED_PRODUCTS */
    const char *name;              /* lower case, as CABOCHON_BACKEND names it */
    const char *version;
    const cabochon_backend_ops *ops;
} cabochon_backend_descriptor;

/* What a backend's own source declares and defines. */
#if defined(__GNUC__)
#define CABOCHON_BACKEND_EXPORT __attribute__((visibility("default")))
#else
#define CABOCHON_BACKEND_EXPORT
#endif
extern CABOCHON_BACKEND_EXPORT const cabochon_backend_descriptor cabochon_backend_v1;

#ifdef __cplusplus
}
#endif

#endif
