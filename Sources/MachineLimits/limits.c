/* limits.c - threads that read memory or multiply registers, and the time they take together.
 *
 * Each thread takes pieces from a shared counter, so that one which the system holds up does not
 * decide the result. Of arithmetic the fastest of a few rounds counts, of reading their mean; `rate`
 * says why. */
#define _GNU_SOURCE
#include "MachineLimits.h"

#include "kernels.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_THREADS = 256, ROUNDS = 4 };
/* Well past every cache, so that a pass reads memory. */
static const uint64_t buffer_bytes = (uint64_t)512 << 20;
static const uint64_t piece_bytes = (uint64_t)1 << 20;
/* About 20 ms of arithmetic on one core, in pieces of a tenth of a millisecond. */
static const uint64_t arithmetic_pieces = 200;
static const uint64_t piece_rounds = 20000;

typedef struct {
    _Atomic uint64_t next;
    uint64_t pieces;
    const uint8_t *buffer; /* NULL: arithmetic */
    arithmetic_kernel kernel;
    _Atomic int starts; /* threads wait for it, so that none is created within the time taken */
    _Atomic uint64_t result; /* keeps the work from being left out */
} job;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *work(void *argument) {
    job *job = argument;
    uint64_t result = 0, piece;
    while (!atomic_load(&job->starts)) sched_yield();
    while ((piece = atomic_fetch_add(&job->next, 1)) < job->pieces)
        result +=
            job->buffer ? sum_bytes(job->buffer + piece * piece_bytes, piece_bytes) : job->kernel.run(piece_rounds);
    atomic_fetch_add(&job->result, result);
    return NULL;
}

/* Runs the job on so many threads, this one included. Returns the seconds it took, or -1 with errno. */
static double run(job *job, uint32_t threads) {
    pthread_t others[MOST_THREADS];
    uint32_t started = 1;
    int refused = 0;
    atomic_store(&job->starts, 0);
    atomic_store(&job->next, 0);
    while (started < threads && !(refused = pthread_create(&others[started], NULL, work, job))) started++;
    /* Without a thread that the system refused there is nothing to measure, nor to do for the others. */
    if (refused) atomic_store(&job->next, job->pieces);
    double const start = seconds();
    atomic_store(&job->starts, 1);
    work(job);
    for (uint32_t i = 1; i < started; i++) pthread_join(others[i], NULL);
    errno = refused;
    return refused ? -1 : seconds() - start;
}

/* Units a second, or -1. Of the fastest round where whatever slows one down is noise; over all rounds for
 * memory, which others use as well: what it gives to nobody for long is no limit that a longer run could reach. */
static double rate(job *job, uint32_t threads, double units) {
    double least = 1e9, sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double const took = run(job, threads);
        if (took < 0) return -1;
        if (took < least) least = took;
        sum += took;
    }
    return job->buffer ? units * ROUNDS / sum : units / least;
}

static const uint8_t *buffer(void) {
    static uint8_t *memory = NULL;
    if (memory) return memory;
    void *const mapped = mmap(NULL, buffer_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return NULL;
    madvise(mapped, buffer_bytes, MADV_HUGEPAGE);
    /* Pages nobody wrote are one page of zeros in the cache. */
    memset(mapped, 1, buffer_bytes);
    return memory = mapped;
}

int cabochon_limits_measure(uint32_t threads, uint64_t cpu_features, cabochon_limits *out_limits) {
    if (threads < 1 || threads > MOST_THREADS) return EINVAL;
    job reading = {.pieces = buffer_bytes / piece_bytes, .buffer = buffer()};
    if (!reading.buffer) return ENOMEM;
    if ((out_limits->read_bytes = rate(&reading, threads, (double)buffer_bytes)) < 0) return errno;
    double *const rates[] = {&out_limits->int8_operations, &out_limits->bf16_operations, &out_limits->f32_operations};
    for (int number = INT8; number <= F32; number++) {
        job arithmetic = {.pieces = arithmetic_pieces * threads,
                          .kernel = arithmetic_kernel_for((enum number)number, cpu_features)};
        *rates[number] = 0;
        if (!arithmetic.kernel.run) continue;
        double const operations =
            (double)arithmetic.pieces * (double)piece_rounds * (double)arithmetic.kernel.operations;
        if ((*rates[number] = rate(&arithmetic, threads, operations)) < 0) return errno;
    }
    return 0;
}
