/* checkbackend.c - checks a compute backend, op by op, against a reference in double.
 *
 *     checkbackend [--activations=int8[:BLOCK]] [--op=NAME] [--scalar=LIBRARY] [BACKEND]
 *     checkbackend --speed [--scalar=LIBRARY] [BACKEND]
 *
 * BACKEND is a backend library; without it the scalar backend is checked. LIBRARY is the scalar
 * backend as a plugin, which also lends its dequantize: libcabochon-scalar-check.so beside this
 * program. --activations=int8 says that the backend rounds activations to int8 for quantised
 * weights, with a scale for every BLOCK columns (as backend.h has it where a backend bounds its products), and
 * widens its tolerances accordingly; the project's own SIMD backends do, and are known by name. --op checks
 * one op, in this very process (for a debugger). --speed prints timings of linear and gated_linear,
 * as CSV. Exit status: 0 all passed, 1 something failed, 2 wrong use, 77 the processor lacks a feature
 * that the backend needs.
 */
#include "checkbackend.h"

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

check_backend check_subject;

static const cabochon_backend_descriptor *load(const char *path, void **out_library) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const cabochon_backend_descriptor *descriptor = library ? dlsym(library, "cabochon_backend_v1") : NULL;
    const char *reason = NULL;
    if (descriptor == NULL) reason = dlerror();
    else if (descriptor->magic != CABOCHON_BACKEND_MAGIC) reason = "wrong magic";
    else if (descriptor->abi_major != CABOCHON_BACKEND_ABI_MAJOR) reason = "another major version of the ABI";
    else if (descriptor->struct_size < sizeof *descriptor) reason = "the descriptor is too short";
    else if (descriptor->ops == NULL || descriptor->ops->struct_size < 2 * sizeof(size_t)) reason = "no table of ops";
    else if (descriptor->name == NULL || descriptor->version == NULL) reason = "no name or no version";
    if (reason != NULL) {
        fprintf(stderr, "checkbackend: %s: %s\n", path, reason);
        exit(1);
    }
    if (descriptor->cpu_features & ~check_cpu_features()) {
        printf("%s: skipped, the processor lacks a feature it needs\n", descriptor->name);
        exit(77);
    }
    *out_library = library;
    return descriptor;
}

static cabochon_backend_ops known_ops(const cabochon_backend_ops *table) {
    cabochon_backend_ops ops = {0};
    memcpy(&ops, table, table->struct_size < sizeof ops ? table->struct_size : sizeof ops);
    return ops;
}

static void *start(const cabochon_backend_descriptor *descriptor) {
    cabochon_backend_ops ops = known_ops(descriptor->ops);
    void *self = NULL;
    if (ops.create != NULL && ops.create(check_host(), &self) != 0) {
        printf("    FAILED create of %s\n", descriptor->name);
        exit(1);
    }
    return self;
}

/* create without memory: it must return -1 if it asked for any, and not crash. */
static void check_create(void) {
    check_begin("create, memory refused");
    check_refuse_allocation = true;
    void *self = NULL;
    int32_t status = check_subject.ops.create(check_host(), &self);
    if (check_allocation_refused && status != -1) check_fail("returned %d though memory was refused", (int)status);
    check_end();
}

typedef struct operation {
    const char *name;
    size_t slot; /* of the table of ops; the op is absent where it is NULL */
    void (*check)(void);
} operation;

static const operation operations[] = {
    {"create", offsetof(cabochon_backend_ops, create), check_create},
    {"prepare_weight", offsetof(cabochon_backend_ops, prepare_weight), check_weights},
    {"embed", offsetof(cabochon_backend_ops, embed), check_embed},
    {"norm", offsetof(cabochon_backend_ops, norm), check_norm},
    {"linear", offsetof(cabochon_backend_ops, linear), check_linear},
    {"gated_linear", offsetof(cabochon_backend_ops, gated_linear), check_gated_linear},
    {"rotate", offsetof(cabochon_backend_ops, rotate), check_rotate},
    {"attention", offsetof(cabochon_backend_ops, attention), check_attention},
    {"softcap", offsetof(cabochon_backend_ops, softcap), check_softcap},
    {"sparse_encode", offsetof(cabochon_backend_ops, sparse_encode), check_sparse_encode},
};

static void report_fault(int number) {
    static const char reason[] = ": a signal (a read or write outside its buffers, or to an input)\n";
    ssize_t ignored = write(1, "    FAILED ", 11);
    ignored = write(1, check_counts->current_case, strlen(check_counts->current_case));
    ignored = write(1, reason, sizeof reason - 1);
    (void)ignored;
    signal(number, SIG_DFL);
    raise(number);
}

/* Threads of this process. Those of the pool have been joined when an op returns, but Linux may list them longer. */
static int thread_count(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    while (folder != NULL && readdir(folder) != NULL) count++;
    if (folder != NULL) closedir(folder);
    return count;
}

static bool has_more_threads(int than) {
    for (int tries = 0; tries < 1000; tries++) {
        if (thread_count() <= than) return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return true;
}

static void run_operation(const operation *checked, const cabochon_backend_descriptor *scalar) {
    if (checked->check != check_create) {
        check_subject.self = start(check_subject.descriptor);
        check_subject.norm = check_subject.ops.norm;
        check_subject.norm_self = check_subject.self;
        if (check_subject.norm == NULL) {
            check_subject.norm = known_ops(scalar->ops).norm;
            check_subject.norm_self = start(scalar);
        }
    }
    int before = thread_count();
    checked->check();
    /* create is let off: OpenBLAS's pthread build starts its threads there, or as it is loaded. */
    if (checked->check != check_create && has_more_threads(before)) {
        printf("    FAILED %s started threads of its own\n", checked->name);
        check_counts->failed++;
    }
}

static void run_apart(const operation *checked, const cabochon_backend_descriptor *scalar) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, report_fault);
        signal(SIGBUS, report_fault);
        signal(SIGILL, report_fault);
        signal(SIGFPE, report_fault);
        signal(SIGABRT, report_fault);
        run_operation(checked, scalar);
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) check_counts->failed++;
}

static void check_operation(const operation *checked, const cabochon_backend_descriptor *scalar, bool here) {
    memset(check_counts, 0, sizeof *check_counts);
    void *entry = NULL;
    memcpy(&entry, (const char *)&check_subject.ops + checked->slot, sizeof entry);
    if (entry == NULL) {
        printf("  %-15s absent\n", checked->name);
        return;
    }
    if (here) run_operation(checked, scalar);
    else run_apart(checked, scalar);
    printf("  %-15s %5llu passed, %llu declined, %llu failed", checked->name, (unsigned long long)check_counts->passed,
           (unsigned long long)check_counts->declined, (unsigned long long)check_counts->failed);
    if (check_counts->worst > 0)
        printf("; largest error %.2f of its tolerance (%s)", check_counts->worst, check_counts->worst_case);
    printf("\n");
}

static void use(void) {
    fprintf(stderr, "usage: checkbackend [--activations=int8[:BLOCK]] [--op=NAME] [--scalar=LIBRARY] [BACKEND]\n");
    exit(2);
}

typedef struct options {
    const char *backend, *only;
    bool speed;
    char scalar[4096];
} options;

static options parse(int count, char **arguments) {
    options parsed = {0};
    ssize_t length = readlink("/proc/self/exe", parsed.scalar, sizeof parsed.scalar - 64);
    while (length > 0 && parsed.scalar[length - 1] != '/') length--;
    strcpy(parsed.scalar + (length > 0 ? length : 0), "libcabochon-scalar-check.so");
    for (int i = 1; i < count; i++) {
        if (strncmp(arguments[i], "--activations=int8", 18) == 0) {
            check_subject.activations = CHECK_INT8;
            if (arguments[i][18] == ':') {
                check_subject.activation_block = strtoull(arguments[i] + 19, NULL, 10);
                if (check_subject.activation_block == 0) use();
            }
        } else if (strncmp(arguments[i], "--op=", 5) == 0) {
            parsed.only = arguments[i] + 5;
        } else if (strcmp(arguments[i], "--speed") == 0) {
            parsed.speed = true;
        } else if (strncmp(arguments[i], "--scalar=", 9) == 0) {
            snprintf(parsed.scalar, sizeof parsed.scalar, "%s", arguments[i] + 9);
        } else if (parsed.backend == NULL && arguments[i][0] != '-') {
            parsed.backend = arguments[i];
        } else {
            use();
        }
    }
    return parsed;
}

/* Backends of this project that multiply quantised weights with activations in int8. */
static bool is_known_int8(const char *name) {
    static const char *const names[] = {"avx2", "avxvnni", "avx512", "amx", "neon"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) return true;
    }
    return false;
}

int main(int count, char **arguments) {
    options given = parse(count, arguments);
    void *scalar_library = NULL, *library = NULL;
    const cabochon_backend_descriptor *scalar = load(given.scalar, &scalar_library);
    check_subject.descriptor = given.backend ? load(given.backend, &library) : scalar;
    check_subject.ops = known_ops(check_subject.descriptor->ops);
    check_subject.same_bits = check_subject.descriptor->flags & CABOCHON_BACKEND_SAME_BITS;
    if (is_known_int8(check_subject.descriptor->name)) check_subject.activations = CHECK_INT8;
    int32_t (*dequantize)(uint32_t, const void *, float *, size_t) = NULL;
    *(void **)&dequantize = dlsym(scalar_library, "cabochon_check_dequantize");
    if (dequantize == NULL) {
        fprintf(stderr, "checkbackend: %s: no cabochon_check_dequantize\n", given.scalar);
        return 2;
    }
    check_set_dequantize(dequantize);
    check_counts = mmap(NULL, sizeof *check_counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (check_counts == MAP_FAILED) return 2;

    if (given.speed) {
        check_subject.self = start(check_subject.descriptor);
        check_speed();
        return 0;
    }
    printf("%s %s (ABI %u.%u, %s, %s activations)\n", check_subject.descriptor->name, check_subject.descriptor->version,
           (unsigned)check_subject.descriptor->abi_major, (unsigned)check_subject.descriptor->abi_minor,
           check_subject.same_bits ? "same bits" : "no promise of the same bits",
           check_subject.activations == CHECK_INT8 ? "int8" : "float32");
    uint64_t passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (given.only != NULL && strcmp(given.only, operations[i].name) != 0) continue;
        check_operation(&operations[i], scalar, given.only != NULL);
        passed += check_counts->passed;
        failed += check_counts->failed;
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed != 0;
}
