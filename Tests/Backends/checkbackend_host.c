/* checkbackend_host.c - the host that the backend under test is lent.
 *
 * Its pool hands indices out in another order for each number of threads, its scratch is full of
 * NaN and followed by an unmapped page, and it can refuse memory.
 */
#include "checkbackend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

enum { PAGE = 4096, THREAD_LIMIT = 8 };

bool check_refuse_allocation, check_allocation_refused;

static int32_t (*lent_dequantize)(uint32_t, const void *, float *, size_t);

void check_set_dequantize(int32_t (*dequantize)(uint32_t, const void *, float *, size_t)) {
    lent_dequantize = dequantize;
}

static int32_t dequantize(uint32_t type, const void *source, float *destination, size_t count) {
    return lent_dequantize(type, source, destination, count);
}

/* In front of what a backend gets: how much it asked for. */
typedef struct allocation {
    size_t bytes;
    _Alignas(64) unsigned char memory[];
} allocation;
static _Atomic size_t live_allocations;

size_t check_live_allocations(void) { return live_allocations; }

static void *allocate(size_t bytes) {
    if (check_refuse_allocation) {
        check_allocation_refused = true;
        return NULL;
    }
    void *memory = NULL;
    if (posix_memalign(&memory, 64, sizeof(allocation) + bytes) != 0) return NULL;
    allocation *made = memory;
    made->bytes = bytes;
    live_allocations++;
    return memset(made->memory, 0, bytes);
}

static void release(void *memory, size_t bytes) {
    if (memory == NULL) return;
    allocation *made = (allocation *)((unsigned char *)memory - offsetof(allocation, memory));
    if (made->bytes != bytes) check_fail("%zu bytes were released as %zu", made->bytes, bytes);
    live_allocations--;
    memset(made->memory, 0xdd, made->bytes);
    free(made);
}

/* check_host fills cpu_features in. */
static cabochon_host host = {
    .struct_size = sizeof(cabochon_host),
    .abi_major = CABOCHON_BACKEND_ABI_MAJOR,
    .abi_minor = CABOCHON_BACKEND_ABI_MINOR,
    .allocate = allocate,
    .release = release,
    .dequantize = dequantize,
};

const cabochon_host *check_host(void) {
    host.cpu_features = check_cpu_features();
    return &host;
}

uint64_t check_cpu_features(void) {
    uint64_t features = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) features |= CABOCHON_CPU_AVX2;
    if (__builtin_cpu_supports("fma")) features |= CABOCHON_CPU_FMA;
    if (__builtin_cpu_supports("f16c")) features |= CABOCHON_CPU_F16C;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        features |= CABOCHON_CPU_AVX512;
    if (__builtin_cpu_supports("avx512vnni")) features |= CABOCHON_CPU_AVX512_VNNI;
    if (__builtin_cpu_supports("avx512bf16")) features |= CABOCHON_CPU_AVX512_BF16;
    if (__builtin_cpu_supports("avx512vbmi")) features |= CABOCHON_CPU_AVX512_VBMI;
    if (__builtin_cpu_supports("avxvnni")) features |= CABOCHON_CPU_AVX_VNNI;
    if (__builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8")) features |= CABOCHON_CPU_AMX_INT8;
    if (__builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16")) features |= CABOCHON_CPU_AMX_BF16;
#elif defined(__aarch64__)
    features |= CABOCHON_CPU_NEON;
    /* HWCAP_ASIMDDP of Linux. */
    if (getauxval(AT_HWCAP) & (1ul << 20)) features |= CABOCHON_CPU_DOTPROD;
#endif
    return features;
}

typedef struct pool_job {
    void (*body)(void *context, size_t index, size_t worker);
    void *context;
    size_t count, threads;
    atomic_size_t next;
} pool_job;

typedef struct pool_worker {
    pool_job *job;
    size_t worker;
} pool_worker;

static void *work(void *argument) {
    pool_worker *worker = argument;
    pool_job *job = worker->job;
    for (;;) {
        size_t taken = atomic_fetch_add(&job->next, 1);
        if (taken >= job->count) return NULL;
        /* An even number of threads takes the last index first. */
        size_t index = job->threads % 2 == 0 ? job->count - 1 - taken : taken;
        job->body(job->context, index, worker->worker);
    }
}

static void parallel_for(const cabochon_run *run, size_t count,
                         void (*body)(void *context, size_t index, size_t worker), void *context) {
    check_run *state = run->host;
    if (state->busy) check_fail("parallel_for was called within a body");
    state->busy = true;
    pool_job job = {.body = body, .context = context, .count = count, .threads = run->thread_count};
    pthread_t threads[THREAD_LIMIT];
    pool_worker workers[THREAD_LIMIT];
    size_t started = 0;
    /* The caller is the last worker, so that worker 0 is not the calling thread. */
    for (size_t i = 0; i < run->thread_count; i++) workers[i] = (pool_worker){&job, i};
    for (; started + 1 < run->thread_count; started++) {
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0) break;
    }
    work(&workers[run->thread_count - 1]);
    for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    state->busy = false;
}

void check_run_abandon(check_run *state) {
    if (state->scratch != NULL) munmap(state->scratch, state->scratch_bytes);
    state->scratch = NULL;
}

static void *scratch(const cabochon_run *run, size_t bytes) {
    check_run *state = run->host;
    state->scratch_calls++;
    if (state->busy) check_fail("scratch was asked for within a body");
    if (state->refuse_scratch) {
        state->scratch_refused = true;
        return NULL;
    }
    check_run_abandon(state);
    /* At most 63 bytes lie between the end asked for and the unmapped page. */
    size_t rounded = (bytes + 63) / 64 * 64, page_bytes = (rounded + PAGE - 1) / PAGE * PAGE;
    unsigned char *pages = mmap(NULL, page_bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        state->scratch_refused = true;
        return NULL;
    }
    mprotect(pages + page_bytes, PAGE, PROT_NONE);
    memset(pages, 0xff, page_bytes); /* NaN in every format */
    state->scratch = pages;
    state->scratch_bytes = page_bytes + PAGE;
    return pages + page_bytes - rounded;
}

void check_run_start(check_run *state, uint32_t threads) {
    *state = (check_run){.run = {.struct_size = sizeof(cabochon_run),
                                 .host = state,
                                 .thread_count = threads,
                                 .parallel_for = parallel_for,
                                 .scratch = scratch}};
}

bool check_run_finish(check_run *state, int32_t status) {
    check_run_abandon(state);
    if (state->scratch_calls > 1) check_fail("scratch was called %u times", (unsigned)state->scratch_calls);
    if (state->scratch_refused) {
        if (status != CABOCHON_OP_FAILED) check_fail("returned %d though scratch was refused", (int)status);
        return false;
    }
    check_returned(status);
    if (status != CABOCHON_OP_DONE && status != CABOCHON_OP_DECLINED) check_fail("returned %d", (int)status);
    return status == CABOCHON_OP_DONE;
}

const check_variation check_variations[CHECK_VARIATION_COUNT] = {{2, 0}, {3, 0}, {1, 1}, {1, 7}, {2, 64}};
