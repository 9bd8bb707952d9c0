/* softcap_backend.c - a whole backend in one function: softcap, and the host does everything else.
 *
 * README.md says how to build it, check it and use it.
 */
#include <cabochon/backend.h>

#include <math.h>

enum { CHUNK = 4096 }; /* values that one call of the body takes */

/* Chunk `index` of the values, on whichever of the host's threads. Each value depends on itself
 * alone, so the bits are the same however the work is cut: what SAME_BITS below promises. */
static void cap_chunk(void *context, size_t index, size_t worker) {
    const cabochon_softcap_args *args = context;
    size_t first = index * CHUNK, end = first + CHUNK < args->count ? first + CHUNK : args->count;
    (void)worker; /* picks a part of the scratch, where an op needs one */
    /* In double: glibc's tanhf is off by a little more than the two units of the last place that are allowed. */
    for (size_t i = first; i < end; i++) args->values[i] = args->cap * (float)tanh(args->values[i] / args->cap);
}

static int32_t softcap(void *self, const cabochon_run *run, const cabochon_softcap_args *args) {
    (void)self; /* what `create` made, had the table one */
    /* Declining before anything is written hands the call to the host's scalar backend. */
    if (!(args->cap > 0)) return CABOCHON_OP_DECLINED;
    run->parallel_for(run, (args->count + CHUNK - 1) / CHUNK, cap_chunk, (void *)args);
    return CABOCHON_OP_DONE;
}

/* Every entry that is left out is NULL: those ops are the host's. */
static const cabochon_backend_ops ops = {
    .struct_size = sizeof ops,
    .softcap = softcap,
};

const cabochon_backend_descriptor cabochon_backend_v1 = {
    .magic = CABOCHON_BACKEND_MAGIC,
    .abi_major = CABOCHON_BACKEND_ABI_MAJOR,
    .abi_minor = CABOCHON_BACKEND_ABI_MINOR,
    .struct_size = sizeof(cabochon_backend_descriptor),
    .cpu_features = 0, /* plain C: any processor */
    .priority = -1,    /* never the default: asked for by name */
    .flags = CABOCHON_BACKEND_SAME_BITS,
    .name = "softcap",
    .version = "1.0.0",
    .ops = &ops,
};
