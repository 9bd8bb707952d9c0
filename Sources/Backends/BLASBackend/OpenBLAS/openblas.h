/* openblas.h - what the BLAS backend calls: OpenBLAS on one thread, and tanhf of libm.
 *
 * OpenBLAS is opened when the backend is created, not when its file is: some builds start threads as
 * soon as they are loaded, which a host that never computes with BLAS must not see. In C because
 * Swift cannot declare the functions of a library that may not be there.
 *
 * The host owns the threads, so OpenBLAS must use the calling one alone. There are three builds of
 * it under one soname. The pthread build has one setting for the process. The OpenMP build asks
 * OpenMP, whose setting belongs to the calling thread and perhaps to a host that uses OpenMP too:
 * it is set around each product and put back. The sequential build, unless it was made with
 * locks, lets two products at the same time share a buffer and mix up their numbers: it cannot be
 * used, and does not say whether it has locks.
 *
 * OpenBLAS asks for memory until it gets it: where address space is short (ulimit -v), opening it would never
 * return. So nothing is opened that would not find the room.
 */
#ifndef CABOCHON_OPENBLAS_H
#define CABOCHON_OPENBLAS_H

#include <cblas.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct cabochon_openblas {
    const void *host; /* the host's cabochon_host */
    void (*sgemm)(enum CBLAS_ORDER, enum CBLAS_TRANSPOSE, enum CBLAS_TRANSPOSE, blasint, blasint, blasint, float,
                  const float *, blasint, const float *, blasint, float, float *, blasint);
    /* Of the OpenMP build only; else NULL. */
    void (*omp_set_num_threads)(int);
    int (*omp_get_max_threads)(void);
} cabochon_openblas;

/* Whether there is address space for OpenBLAS and its buffers. VmPeak grows by this when 0.3.21 is opened: by 40 MB for
 * the library and, for each processor, 128 MiB for a buffer (OpenMP build) and 8 MiB for a stack (pthread build); then
 * by another such buffer for each thread that multiplies, of which the host has no more than there are processors. */
static inline int cabochon_openblas_has_room(void) {
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    size_t mebibytes = 64 + 272 * (size_t)(processors > 0 ? processors : 1);
    void *room =
        mmap(NULL, mebibytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return room != MAP_FAILED && munmap(room, mebibytes << 20) == 0;
}

/* Opens OpenBLAS. Returns 0, or -1 where it is missing, a build that several threads cannot use, or more than there is
 * room for. */
static inline int cabochon_openblas_open(cabochon_openblas *blas) {
    if (!cabochon_openblas_has_room()) return -1;
    /* The host's signals are not for OpenBLAS's threads, which inherit the mask. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (library == NULL) return -1;
    int (*get_parallel)(void) = (int (*)(void))dlsym(library, "openblas_get_parallel");
    void (*set_num_threads)(int) = (void (*)(int))dlsym(library, "openblas_set_num_threads");
    *(void **)&blas->sgemm = dlsym(library, "cblas_sgemm");
    if (get_parallel == NULL || set_num_threads == NULL || blas->sgemm == NULL) return -1;
    int build = get_parallel();
    if (build == OPENBLAS_THREAD) {
        set_num_threads(1);
        return 0;
    }
    *(void **)&blas->omp_set_num_threads = dlsym(library, "omp_set_num_threads");
    *(void **)&blas->omp_get_max_threads = dlsym(library, "omp_get_max_threads");
    return build == OPENBLAS_OPENMP && blas->omp_set_num_threads && blas->omp_get_max_threads ? 0 : -1;
}

/* output[t, r] = activations[t] . weights[r]; rows of each are `stride` floats apart. */
static inline void cabochon_openblas_multiply(const cabochon_openblas *blas, int tokens, int rows, int columns,
                                              const float *activations, int activation_stride, const float *weights,
                                              int weight_stride, float *output, int output_stride) {
    int threads = blas->omp_get_max_threads ? blas->omp_get_max_threads() : 1;
    if (threads != 1) blas->omp_set_num_threads(1);
    blas->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, tokens, rows, columns, 1, activations, activation_stride,
                weights, weight_stride, 0, output, output_stride);
    if (threads != 1) blas->omp_set_num_threads(threads);
}

#endif
