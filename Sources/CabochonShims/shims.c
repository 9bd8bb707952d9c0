#define _GNU_SOURCE
#include "CabochonShims.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void *cabochon_shim_allocate(size_t bytes) {
    void *memory = NULL;
    if (bytes > PTRDIFF_MAX - 64 || posix_memalign(&memory, 64, bytes ? bytes : 1) != 0) return NULL;
    return memset(memory, 0, bytes);
}

void cabochon_shim_free(void *memory) { free(memory); }

void *cabochon_shim_reserve_pages(size_t bytes, int wants_huge_pages) {
    void *memory =
        mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, bytes, wants_huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return memory;
}

void cabochon_shim_release_pages(void *memory, size_t bytes) {
    if (memory != NULL) munmap(memory, bytes ? bytes : 1);
}

void cabochon_shim_unmap_file(const void *data, size_t size) {
    if (data != NULL) munmap((void *)data, size);
}

void cabochon_shim_forget_pages(const void *data, size_t size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)data + page - 1) / page * page, last = ((uintptr_t)data + size) / page * page;
    if (last > first) madvise((void *)first, last - first, MADV_DONTNEED);
}

const void *cabochon_shim_load_symbol(const char *path, const char *symbol, char *message, size_t message_size) {
    /* Threads that a library starts as it is loaded inherit that no signal is theirs. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    const void *address = library ? dlsym(library, symbol) : NULL;
    if (address == NULL) {
        const char *reason = dlerror();
        snprintf(message, message_size, "%s", reason ? reason : "unknown error");
    }
    return address;
}

static struct {
    pthread_once_t once;
    char path[4096]; /* "" if unknown */
    uid_t owner;
} own_file = {.once = PTHREAD_ONCE_INIT};

static void find_own_file(void) {
    Dl_info information;
    struct link_map *map = NULL;
    struct stat file;
    if (dladdr1((void *)find_own_file, &information, (void **)&map, RTLD_DL_LINKMAP) == 0) return;
    if (information.dli_fname == NULL) return;
    /* A program that was started by a bare name has no folder in it: ask the kernel. A library without one was found
     * in the current folder. */
    int is_program = map != NULL && *map->l_name == 0;
    const char *name = is_program && !strchr(information.dli_fname, '/') ? "/proc/self/exe" : information.dli_fname;
    char resolved[4096];
    if (realpath(name, resolved) == NULL || stat(resolved, &file) != 0) return;
    memcpy(own_file.path, resolved, strlen(resolved) + 1);
    own_file.owner = file.st_uid;
}
/* As the library is loaded: the loader's name for it may start from the current folder, which changes. */
__attribute__((constructor)) static void remember_own_file(void) { pthread_once(&own_file.once, find_own_file); }

size_t cabochon_shim_own_path(char *path, size_t path_size) {
    remember_own_file();
    size_t length = strlen(own_file.path);
    if (length >= path_size) return 0;
    memcpy(path, own_file.path, length + 1);
    return length;
}

int cabochon_shim_owns_own_file(uint32_t user) {
    remember_own_file();
    return *own_file.path != 0 && own_file.owner == user;
}

const char *cabochon_shim_secure_environment(const char *name) { return secure_getenv(name); }

struct thread_start {
    void (*body)(void *);
    void *context;
};

static void *run_thread(void *argument) {
    struct thread_start start = *(struct thread_start *)argument;
    free(argument);
    start.body(start.context);
    return NULL;
}

cabochon_processor_set cabochon_shim_processors(void) {
    cabochon_processor_set result = {.count = 0};
    _Static_assert(sizeof result.words == sizeof(cpu_set_t), "as many bits");
    if (sched_getaffinity(0, sizeof result.words, (cpu_set_t *)result.words) == 0)
        result.count = (uint32_t)CPU_COUNT((cpu_set_t *)result.words);
    if (result.count > 0) return result;
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return (cabochon_processor_set){.count = count > 0 ? (uint32_t)count : 1};
}

int cabochon_shim_start_thread(void (*body)(void *), void *context, cabochon_processor_set processors,
                               uint64_t *out_thread) {
    struct thread_start *start = malloc(sizeof *start);
    if (start == NULL) return ENOMEM;
    *start = (struct thread_start){body, context};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    pthread_attr_t attributes;
    int status = pthread_attr_init(&attributes);
    if (status == 0) {
        if (CPU_COUNT((cpu_set_t *)processors.words) > 0)
            pthread_attr_setaffinity_np(&attributes, sizeof processors.words, (cpu_set_t *)processors.words);
        status = pthread_create(&thread, &attributes, run_thread, start);
        /* Processors that have been taken away since are no reason to do without the thread. */
        if (status == EINVAL) status = pthread_create(&thread, NULL, run_thread, start);
        pthread_attr_destroy(&attributes);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0) free(start);
    else *out_thread = (uint64_t)thread;
    return status;
}

void cabochon_shim_join_thread(uint64_t thread) { pthread_join((pthread_t)thread, NULL); }

void cabochon_shim_yield(void) { sched_yield(); }

static pthread_mutex_t locks[CABOCHON_LOCK_COUNT] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

void cabochon_shim_lock(int lock) { pthread_mutex_lock(&locks[lock]); }
void cabochon_shim_unlock(int lock) { pthread_mutex_unlock(&locks[lock]); }

static void lock_all(void) {
    for (int lock = 0; lock < CABOCHON_LOCK_COUNT; lock++) cabochon_shim_lock(lock);
}
static void unlock_all(void) {
    for (int lock = CABOCHON_LOCK_COUNT; lock-- > 0;) cabochon_shim_unlock(lock);
}
static void (*_Atomic child_body)(void *);
static void *child_context;

void cabochon_shim_after_fork(void (*body)(void *), void *context) {
    child_context = context;
    child_body = body;
}

static void begin_child(void) {
    void (*body)(void *) = child_body;
    if (body != NULL) body(child_context);
    unlock_all();
}
/* As the library is loaded: by the first lock another thread could fork already. */
__attribute__((constructor)) static void guard_forks(void) { pthread_atfork(lock_all, unlock_all, begin_child); }

void cabochon_shim_wait(const uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void cabochon_shim_wake_all(const uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

uint64_t cabochon_shim_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
