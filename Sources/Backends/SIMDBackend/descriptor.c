/* descriptor.c - the one exported constant of a SIMD backend.
 *
 * Embedded Swift does not export data. This file is compiled for the baseline processor, so that
 * a host may read it anywhere; the functions named in the table run only where the processor has
 * cpu_features. */
#include "cabochon/backend.h"

extern int32_t cabochon_simd_create(const cabochon_host *, void **);
extern int32_t cabochon_simd_prepare_weight(void *, const cabochon_run *, const cabochon_weight *, void **);
extern void cabochon_simd_release_weight(void *, void *);
extern int32_t cabochon_simd_norm(void *, const cabochon_run *, const cabochon_norm_args *);
extern int32_t cabochon_simd_linear(void *, const cabochon_run *, const cabochon_linear_args *);
extern int32_t cabochon_simd_gated_linear(void *, const cabochon_run *, const cabochon_gated_linear_args *);
extern int32_t cabochon_simd_rotate(void *, const cabochon_run *, const cabochon_rotate_args *);
extern int32_t cabochon_simd_attention(void *, const cabochon_run *, const cabochon_attention_args *);
extern int32_t cabochon_simd_softcap(void *, const cabochon_run *, const cabochon_softcap_args *);
extern int32_t cabochon_simd_sparse_encode(void *, const cabochon_sparse_encode_args *);

static const cabochon_backend_ops operations = {
    .struct_size = sizeof(cabochon_backend_ops),
    .create = cabochon_simd_create,
    .prepare_weight = cabochon_simd_prepare_weight,
    .release_weight = cabochon_simd_release_weight,
    .norm = cabochon_simd_norm,
    .linear = cabochon_simd_linear,
    .gated_linear = cabochon_simd_gated_linear,
    .rotate = cabochon_simd_rotate,
    .attention = cabochon_simd_attention,
    .softcap = cabochon_simd_softcap,
    .sparse_encode = cabochon_simd_sparse_encode,
};

CABOCHON_BACKEND_EXPORT const cabochon_backend_descriptor cabochon_backend_v1 = {
    .magic = CABOCHON_BACKEND_MAGIC,
    .abi_major = CABOCHON_BACKEND_ABI_MAJOR,
    .abi_minor = CABOCHON_BACKEND_ABI_MINOR,
    .struct_size = sizeof(cabochon_backend_descriptor),
    .cpu_features = SIMD_CPU_FEATURES,
    .priority = SIMD_PRIORITY,
    .flags = CABOCHON_BACKEND_SAME_BITS | CABOCHON_BACKEND_BOUNDED_PRODUCTS | SIMD_SCREENS,
    .name = SIMD_NAME,
    .version = "1.0.0",
    .ops = &operations,
};
