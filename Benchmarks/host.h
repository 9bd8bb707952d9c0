/* host.h - what a backend's ops ask of their host, for the programs here that call ops without the engine: a pool of
 * threads that spin, scratch, memory in huge pages; the backend itself, opened; and the clock and the order that
 * medians need. Compiled with Sources/CabochonShims/cpu.c. */
#ifndef BENCHMARKS_HOST_H
#define BENCHMARKS_HOST_H

#include "cabochon/backend.h"

#include "CabochonShims.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

typedef void (*body_function)(void *, size_t, size_t);
static uint32_t thread_count = 2;
static _Atomic uint64_t generation;
static _Atomic size_t next_index;
static _Atomic uint32_t running;
static size_t job_count;
static body_function job_body;
static void *job_context;

static void work(size_t worker) {
    for (;;) {
        size_t index = atomic_fetch_add(&next_index, 1);
        if (index >= job_count) return;
        job_body(job_context, index, worker);
    }
}

static void *thread_main(void *argument) {
    size_t worker = (size_t)argument;
    uint64_t seen = 0;
    for (;;) {
        uint64_t now;
        while ((now = atomic_load(&generation)) == seen) __builtin_ia32_pause();
        seen = now;
        work(worker);
        atomic_fetch_sub(&running, 1);
    }
    return NULL;
}

static void parallel_for(const cabochon_run *run, size_t count, body_function body, void *context) {
    (void)run;
    job_count = count;
    job_body = body;
    job_context = context;
    atomic_store(&next_index, 0);
    atomic_store(&running, thread_count - 1);
    atomic_fetch_add(&generation, 1);
    work(0);
    while (atomic_load(&running) != 0) __builtin_ia32_pause();
}

static void *scratch_memory;
static size_t scratch_bytes;
static void *scratch(const cabochon_run *run, size_t bytes) {
    (void)run;
    if (bytes > scratch_bytes) {
        free(scratch_memory);
        scratch_bytes = bytes + bytes / 2;
        scratch_memory = aligned_alloc(64, (scratch_bytes + 63) & ~(size_t)63);
    }
    return scratch_memory;
}

static void *host_allocate(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}
static void host_release(void *memory, size_t bytes) { munmap(memory, bytes); }

/* The engine's formats are not here: a backend that asks for them declines. */
static int32_t host_dequantize(uint32_t type, const void *source, float *destination, size_t count) {
    (void)type, (void)source, (void)destination, (void)count;
    return -1;
}

static cabochon_host host = {.struct_size = sizeof host,
                             .abi_major = CABOCHON_BACKEND_ABI_MAJOR,
                             .abi_minor = CABOCHON_BACKEND_ABI_MINOR,
                             .allocate = host_allocate,
                             .release = host_release,
                             .dequantize = host_dequantize};
static cabochon_run run = {.struct_size = sizeof run, .parallel_for = parallel_for, .scratch = scratch};

/* Before the first op; once. */
static void start_threads(uint32_t threads) {
    thread_count = threads;
    run.thread_count = threads;
    for (size_t worker = 1; worker < threads; worker++) {
        pthread_t thread;
        pthread_create(&thread, NULL, thread_main, (void *)worker);
    }
}

/* The backend of a library, and in *self what its ops take. Ends the program, with the reason, where the file is none
 * or needs features that this processor lacks, whose ops would raise SIGILL. */
static const cabochon_backend_descriptor *open_backend(const char *path, void **self) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const cabochon_backend_descriptor *backend = library ? dlsym(library, "cabochon_backend_v1") : NULL;
    if (!backend) fprintf(stderr, "%s\n", dlerror()), exit(1);
    host.cpu_features = cabochon_shim_cpu_features();
    const uint64_t missing = backend->cpu_features & ~host.cpu_features;
    if (missing)
        fprintf(stderr, "%s: this processor lacks features 0x%llx\n", path, (unsigned long long)missing), exit(1);
    if (backend->ops->create && backend->ops->create(&host, self) != 0)
        fprintf(stderr, "%s: cannot be created here\n", path), exit(1);
    return backend;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

#endif
