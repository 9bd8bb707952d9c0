/* hostile.c - every function, fed what no caller should feed it: NULL, freed, foreign and made-up
 * handles, absurd sizes, missing pointers, bytes that are not UTF-8, uninitialised options. Each
 * function has a child process of its own; one that dies by a signal or hangs has failed.
 * Usage: hostile [MODEL] */
#include <cabochon/cabochon.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define SCRATCH (1u << 20)

/* What the child is doing, for the parent to tell if it dies of it. */
static struct report {
    char doing[200];
    size_t calls, wrong;
} *report;

static const char *model_path;
static cabochon_engine *engine;
static cabochon_model *model;
static cabochon_session *session;
static cabochon_generation *generation;
static cabochon_guard *guard;
static cabochon_sae *sae;
static cabochon_features *features;
static cabochon_error *failure;

/* Calls one function with a handle, a buffer (or NULL) in place of every pointer and a number in
 * place of every size. Returns its status, or CABOCHON_ERROR_INVALID_HANDLE where it has none. */
typedef cabochon_status (*attack)(void *handle, void *pointer, size_t size);

#define NO_STATUS CABOCHON_ERROR_INVALID_HANDLE
#define ATTACK(name, ...)                                                                                              \
    static cabochon_status name(void *handle, void *pointer, size_t size) {                                            \
        size_t len = size;                                                                                             \
        size_t *lens = pointer ? &len : NULL;                                                                          \
        void *out = NULL;                                                                                              \
        cabochon_error *error = NULL;                                                                                  \
        cabochon_status status = NO_STATUS;                                                                            \
        (void)handle, (void)lens, (void)out;                                                                           \
        __VA_ARGS__;                                                                                                   \
        cabochon_error_free(error);                                                                                    \
        return status;                                                                                                 \
    }

ATTACK(error_code, cabochon_error_code(handle))
ATTACK(error_message, cabochon_error_message(handle, lens))
ATTACK(error_retain, cabochon_error_free(cabochon_error_retain(handle)))
ATTACK(status_name, cabochon_status_name((int32_t)size))
ATTACK(engine_describe, status = cabochon_engine_describe(handle, pointer, lens, &error))
ATTACK(engine_names, cabochon_engine_backend_name(handle, size))
ATTACK(engine_counts, cabochon_engine_backend_count(handle), cabochon_engine_thread_count(handle))
ATTACK(engine_retain, cabochon_engine_free(cabochon_engine_retain(handle)))
ATTACK(model_load, status = cabochon_model_load(handle, pointer, NULL, (void *)&out, &error))
ATTACK(model_load_nowhere, cabochon_model_load(handle, model_path, NULL, NULL, &error))
ATTACK(model_numbers, cabochon_model_architecture(handle), cabochon_model_vocab_size(handle),
       cabochon_model_hidden_size(handle), cabochon_model_layer_count(handle), cabochon_model_context_length(handle),
       cabochon_model_bos_id(handle))
ATTACK(model_retain, cabochon_model_free(cabochon_model_retain(handle)))
ATTACK(model_eos_ids, status = cabochon_model_eos_ids(handle, pointer, lens, &error))
ATTACK(model_describe, status = cabochon_model_describe(handle, pointer, lens, &error))
ATTACK(model_backend, status = cabochon_model_backend(handle, pointer, lens, &error))
ATTACK(model_set_backend, status = cabochon_model_set_backend(handle, pointer, &error))
ATTACK(tokenize, status = cabochon_model_tokenize(handle, pointer, size, (uint32_t)size, NULL, lens, &error))
ATTACK(tokenize_out, status = cabochon_model_tokenize(handle, "some text", 9, 0, pointer, lens, &error))
ATTACK(detokenize, status = cabochon_model_detokenize(handle, pointer, size, NULL, lens, &error))
ATTACK(token_piece, status = cabochon_model_token_piece(handle, (int32_t)size, pointer, lens, &error))
ATTACK(model_logits, status = cabochon_model_logits(handle, pointer, size, pointer, lens, &error))
ATTACK(model_cancel, cabochon_model_cancel(handle))
ATTACK(site_width, status = cabochon_model_site_width(handle, pointer, lens, &error))
ATTACK(session_create, status = cabochon_session_create(handle, NULL, (void *)&out, &error), cabochon_session_free(out))
ATTACK(session_create_nowhere, cabochon_session_create(handle, NULL, NULL, &error))
ATTACK(session_numbers, cabochon_session_length(handle), cabochon_session_context_length(handle),
       cabochon_session_cancel(handle))
ATTACK(session_retain, cabochon_session_free(cabochon_session_retain(handle)))
ATTACK(session_tokens, status = cabochon_session_tokens(handle, pointer, lens, &error))
ATTACK(session_append, status = cabochon_session_append(handle, pointer, size, &error))
ATTACK(session_logits, status = cabochon_session_logits(handle, pointer, lens, &error))
ATTACK(session_truncate, status = cabochon_session_truncate(handle, size, &error))
ATTACK(session_fork, status = cabochon_session_fork(handle, (void *)&out, &error), cabochon_session_free(out))
ATTACK(session_fork_nowhere, cabochon_session_fork(handle, NULL, &error))
ATTACK(session_save, status = cabochon_session_save(handle, pointer ? "/nowhere/at/all" : NULL, &error))
ATTACK(session_restore, status = cabochon_session_restore(handle, pointer, (void *)&out, &error))
ATTACK(generate, cabochon_generation_options options; cabochon_generation_options_init(&options, sizeof options);
       options.max_tokens = 1;
       status = cabochon_session_generate(handle, pointer, size, &options, NULL, NULL, NULL, &error))
ATTACK(generation_text, cabochon_generation_text(handle, lens))
ATTACK(generation_tokens, cabochon_generation_tokens(handle, lens))
ATTACK(generation_logprobs, cabochon_generation_logprobs(handle, lens))
ATTACK(generation_summary, status = cabochon_generation_get_summary(handle, pointer, &error))
ATTACK(generation_retain, cabochon_generation_free(cabochon_generation_retain(handle)))
/* These read pointers out of what they are given, so they only ever get zeros. */
ATTACK(chat_template, memset(pointer ? pointer : &len, 0, 8),
       status = cabochon_model_apply_chat_template(handle, pointer, size, 0, NULL, lens, &error))
ATTACK(render_chat, status = cabochon_model_render_chat(handle, NULL, size, (uint32_t)size, NULL, lens, &error))
ATTACK(render_turn, status = cabochon_model_render_turn(handle, NULL, size, (uint32_t)size, NULL, lens, &error))
ATTACK(activations, status = cabochon_model_activations(handle, pointer, size, NULL, size, NULL, NULL, &error))
ATTACK(sae_load, status = cabochon_sae_load(handle, pointer, NULL, (void *)&out, &error))
ATTACK(sae_only, status = cabochon_sae_only(handle, pointer, size, (void *)&out, &error), cabochon_sae_free(out))
ATTACK(sae_only_nowhere, cabochon_sae_only(handle, pointer, size, NULL, &error))
ATTACK(sae_numbers, cabochon_sae_width(handle), cabochon_sae_input_size(handle), cabochon_sae_output_size(handle),
       cabochon_sae_layer(handle), cabochon_sae_average_l0(handle), cabochon_sae_site(handle),
       cabochon_sae_kind(handle))
ATTACK(sae_retain, cabochon_sae_free(cabochon_sae_retain(handle)))
ATTACK(sae_direction, status = cabochon_sae_direction(handle, (uint32_t)size, pointer, lens, &error))
ATTACK(sae_encode, status = cabochon_sae_encode(handle, pointer, size, (void *)&out, &error),
       cabochon_features_free(out))
ATTACK(sae_decode, status = cabochon_sae_decode(handle, features, NULL, pointer, lens, &error))
ATTACK(sae_decode_features, status = cabochon_sae_decode(sae, handle, NULL, pointer, lens, &error))
ATTACK(features_create, cabochon_features_create(size, size, pointer, pointer, pointer, (void *)&out, &error),
       cabochon_features_free(out))
ATTACK(features_arrays, cabochon_features_offsets(handle, lens), cabochon_features_indices(handle, lens),
       cabochon_features_values(handle, lens), cabochon_features_excluded(handle, lens),
       cabochon_features_width(handle), cabochon_features_row_count(handle))
ATTACK(features_retain, cabochon_features_free(cabochon_features_retain(handle)))
ATTACK(model_features, status = cabochon_model_features(handle, pointer, size, NULL, size, NULL, &error))
ATTACK(logits_with, status = cabochon_model_logits_with(handle, pointer, size, NULL, pointer, lens, &error))
ATTACK(guard_create, status = cabochon_guard_create(handle, NULL, (void *)&out, &error), cabochon_guard_free(out))
ATTACK(guard_create_nowhere, cabochon_guard_create(handle, NULL, NULL, &error))
ATTACK(guard_retain, cabochon_guard_free(cabochon_guard_retain(handle)))
ATTACK(guard_policies, cabochon_guard_policy_count(handle), cabochon_guard_policy_name(handle, size),
       cabochon_guard_policy_text(handle, size), cabochon_guard_cancel(handle))
ATTACK(guard_classify, status = cabochon_guard_classify(handle, pointer, size, NULL, 0, NULL, 0, NULL, lens, &error))
ATTACK(guard_response, status = cabochon_guard_classify(handle, "hi", 2, pointer, size, NULL, 0, NULL, lens, &error))
ATTACK(guard_policy_count,
       status = cabochon_guard_classify(handle, "hi", 2, NULL, 0, NULL, size ? size : 1, NULL, lens, &error))
ATTACK(guard_rows, status = cabochon_guard_classify_rows(handle, NULL, size, NULL, 0, NULL, NULL, &error))
ATTACK(guard_render, status = cabochon_guard_render(handle, pointer, size, NULL, 0, NULL, NULL, lens, &error))
ATTACK(guard_score, status = cabochon_guard_score(handle, pointer, size, pointer, &error))
ATTACK(guard_generate,
       status = cabochon_guard_generate(handle, session, pointer, size, "hi", 2, NULL, NULL, NULL, NULL, NULL, &error))
ATTACK(guarded_session,
       status = cabochon_guard_generate(guard, handle, NULL, 0, pointer, size, NULL, NULL, NULL, NULL, NULL, &error))
ATTACK(generation_filter, cabochon_generation_filter_policy(handle))

struct target {
    const char *name;
    attack call;
    void *const *handle;
};
#define ON(kind, name) {#name, name, (void *const *)&kind}
static const struct target targets[] = {
    ON(failure, error_code),
    ON(failure, error_message),
    ON(failure, error_retain),
    ON(failure, status_name),
    ON(engine, engine_describe),
    ON(engine, engine_names),
    ON(engine, engine_counts),
    ON(engine, engine_retain),
    ON(engine, model_load),
    ON(engine, model_load_nowhere),
    ON(model, model_numbers),
    ON(model, model_retain),
    ON(model, model_eos_ids),
    ON(model, model_describe),
    ON(model, model_backend),
    ON(model, model_set_backend),
    ON(model, tokenize),
    ON(model, tokenize_out),
    ON(model, detokenize),
    ON(model, token_piece),
    ON(model, model_logits),
    ON(model, site_width),
    ON(model, session_create),
    ON(model, session_create_nowhere),
    ON(session, session_numbers),
    ON(session, session_retain),
    ON(session, session_tokens),
    ON(session, session_append),
    ON(session, session_logits),
    ON(session, session_truncate),
    ON(session, session_fork),
    ON(session, session_fork_nowhere),
    ON(session, session_save),
    ON(model, session_restore),
    ON(session, generate),
    ON(generation, generation_text),
    ON(generation, generation_tokens),
    ON(generation, generation_logprobs),
    ON(generation, generation_summary),
    ON(generation, generation_retain),
    ON(model, chat_template),
    ON(model, render_chat),
    ON(model, render_turn),
    ON(model, activations),
    ON(engine, sae_load),
    ON(sae, sae_only),
    ON(sae, sae_only_nowhere),
    ON(sae, sae_numbers),
    ON(sae, sae_retain),
    ON(sae, sae_direction),
    ON(sae, sae_encode),
    ON(sae, sae_decode),
    ON(features, sae_decode_features),
    ON(features, features_create),
    ON(features, features_arrays),
    ON(features, features_retain),
    ON(model, model_features),
    ON(model, model_cancel),
    ON(model, logits_with),
    ON(model, guard_create),
    ON(model, guard_create_nowhere),
    ON(guard, guard_retain),
    ON(guard, guard_policies),
    ON(guard, guard_classify),
    ON(guard, guard_response),
    ON(guard, guard_policy_count),
    ON(guard, guard_rows),
    ON(guard, guard_render),
    ON(guard, guard_score),
    ON(guard, guard_generate),
    ON(session, guarded_session),
    ON(generation, generation_filter),
};

static void set_up(void) {
    int32_t prompt[] = {2, 5, 7};
    cabochon_generation_options options;
    cabochon_generation_options_init(&options, sizeof options);
    options.max_tokens = 2;
    cabochon_status status = cabochon_engine_create(NULL, &engine, NULL);
    if (status == 0) status = cabochon_model_load(engine, model_path, NULL, &model, NULL);
    if (status == 0) status = cabochon_session_create(model, NULL, &session, NULL);
    if (status == 0) status = cabochon_session_generate(session, prompt, 3, &options, NULL, NULL, &generation, NULL);
    if (status == 0) status = cabochon_guard_create(model, NULL, &guard, NULL);
    char path[4096];
    snprintf(path, sizeof path, "%s/expected/scope/resid_post_layer2.npz", model_path);
    cabochon_sae_options sae_options;
    cabochon_sae_options_init(&sae_options, sizeof sae_options);
    sae_options.site = "resid_post";
    sae_options.flags = CABOCHON_SAE_LAYER;
    sae_options.layer = 2;
    if (status == 0) status = cabochon_sae_load(engine, path, &sae_options, &sae, NULL);
    size_t offsets[] = {0, 0, 0};
    if (status == 0)
        status = cabochon_features_create(cabochon_sae_width(sae), 2, offsets, NULL, NULL, &features, NULL);
    if (status == 0) cabochon_session_create(NULL, NULL, NULL, &failure);
    if (failure == NULL) _exit(3);
}

static void attack_one(const struct target *target) {
    set_up();
    cabochon_session *freed = NULL;
    cabochon_session_create(model, NULL, &freed, NULL);
    cabochon_session_free(freed);
    char on_stack[64] = {0};
    void *self = *target->handle;
    void *handles[] = {
        NULL,    (void *)1,  (void *)-8, on_stack, (char *)engine + 4, (char *)self + 8, freed, engine, model,
        session, generation, guard,      sae,      features,           failure,          self,
    };
    const size_t sizes[] = {0, 1, 7, (size_t)1 << 31, (size_t)1 << 40, SIZE_MAX / 2, SIZE_MAX - 3, SIZE_MAX};
    char *scratch = malloc(SCRATCH);
    for (size_t fill = 0; fill < 3; fill++)
        for (size_t h = 0; h < sizeof handles / sizeof *handles; h++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                snprintf(report->doing, sizeof report->doing, "%s, handle %zu, size %zu, buffer %zu", target->name, h,
                         sizes[s], fill);
                /* NULL, zeros, or bytes that are neither UTF-8 nor tokens, with a NUL at the end. */
                memset(scratch, fill == 1 ? 0 : 0xf7, SCRATCH - 1);
                scratch[SCRATCH - 1] = 0;
                cabochon_status status = target->call(handles[h], fill == 0 ? NULL : scratch, sizes[s]);
                report->calls++;
                if (handles[h] != self && status != CABOCHON_ERROR_INVALID_HANDLE) {
                    if (report->wrong++ < 3) printf("FAIL %s: status %d\n", report->doing, (int)status);
                }
            }
    free(scratch);
    fflush(stdout);
}

static void expect(const char *doing, cabochon_status expected, cabochon_status status) {
    report->calls++;
    if (status == expected) return;
    report->wrong++;
    printf("FAIL %s: status %d, not %d\n", doing, (int)status, (int)expected);
    fflush(stdout);
}

/* Zeros behind which memory ends: whoever reads past them faults. */
static void *last_bytes(size_t count) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_NONE) != 0) _exit(3);
    return pages + page - count;
}

/* Option structs with every field out of its range, one at a time. */
static void attack_options(void) {
    set_up();
    int32_t prompt[] = {2};
    const size_t sizes[] = {0, 1, 7, 8, 9, 4097, SIZE_MAX / 2, SIZE_MAX};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        char bytes[8192] = {0};
        memcpy(bytes, &sizes[s], sizeof *sizes);
        void *options = bytes;
        void *out = NULL;
        snprintf(report->doing, sizeof report->doing, "struct_size %zu", sizes[s]);
        expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_engine_create(options, (void *)&out, NULL));
        expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT,
               cabochon_model_load(engine, model_path, options, (void *)&out, NULL));
        expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT,
               cabochon_session_create(model, options, (void *)&out, NULL));
        expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT,
               cabochon_generation_get_summary(generation, options, NULL));
        expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT,
               cabochon_session_generate(session, prompt, 1, options, NULL, NULL, NULL, NULL));
    }
    /* A struct is read as far as it says, and one that is too short to be known not at all: this one ends
     * where memory does. */
    cabochon_generation_options *cut = last_bytes(16);
    cut->struct_size = 16;
    const double half = 0.5;
    cabochon_guarding_options guarding;
    cabochon_guarding_options_init(&guarding, sizeof guarding);
    guarding.thresholds = &half;
    guarding.threshold_count = 1;
    snprintf(report->doing, sizeof report->doing, "options that end at the last page");
    expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT,
           cabochon_session_generate(session, prompt, 1, cut, NULL, NULL, NULL, NULL));
    expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT,
           cabochon_guard_generate(guard, session, prompt, 1, "hi", 2, cut, &guarding, NULL, NULL, NULL, NULL));

    const cabochon_logit_bias bias = {0x7fffffff, 0};
    const cabochon_text empty = {NULL, 5}, bad = {"\xff\xfe", 2};
#define GENERATE(expected, ...)                                                                                        \
    do {                                                                                                               \
        cabochon_generation_options o;                                                                                 \
        cabochon_generation_options_init(&o, sizeof o);                                                                \
        o.max_tokens = 1;                                                                                              \
        __VA_ARGS__;                                                                                                   \
        snprintf(report->doing, sizeof report->doing, "%s", #__VA_ARGS__);                                             \
        expect(#__VA_ARGS__, expected, cabochon_session_generate(session, prompt, 1, &o, 0, 0, 0, 0));                 \
    } while (0)
    GENERATE(CABOCHON_OK, (void)0);
    GENERATE(CABOCHON_ERROR_UNSUPPORTED_OPTION, o.sampling = 9);
    GENERATE(CABOCHON_ERROR_UNSUPPORTED_OPTION, o.flags = 0x80000000u);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.temperature = NAN);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.temperature = -1);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.temperature = INFINITY);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.top_p = 2);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.top_p = NAN);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.min_p = -1);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.repetition_penalty = -1);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.presence_penalty = NAN);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.frequency_penalty = INFINITY);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.logprobs = 21);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.logprobs = UINT32_MAX);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.stop_count = 1);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.stop = &empty, o.stop_count = 1);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.stop = &empty, o.stop_count = SIZE_MAX);
    GENERATE(CABOCHON_ERROR_INVALID_UTF8, o.stop = &bad, o.stop_count = 1);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.logit_bias_count = SIZE_MAX);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.logit_bias = &bias, o.logit_bias_count = 1);
    GENERATE(CABOCHON_ERROR_INVALID_HANDLE, o.draft = (const cabochon_model *)session);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.draft = model, o.flags = CABOCHON_GENERATE_PROMPT_LOOKUP);
    GENERATE(CABOCHON_OK, o.draft = model);
    const cabochon_steer steer = {.sae = sae, .feature = 1u << 30, .strength = 1};
    const cabochon_steer no_sae = {.sae = (const cabochon_sae *)model};
    const cabochon_steer odd_mode = {.sae = sae, .mode = 99}, reserved = {.sae = sae, .reserved_ = {0, 1}};
    cabochon_interventions sizeless = {0}, edits;
    cabochon_interventions_init(&edits, sizeof edits);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.interventions = &sizeless);
    GENERATE(CABOCHON_OK, o.interventions = &edits);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.interventions = &edits; edits.steer_count = 1);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.interventions = &edits; edits.steer_count = SIZE_MAX);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.interventions = &edits; edits.steer = &steer; edits.steer_count = 1);
    GENERATE(CABOCHON_ERROR_INVALID_HANDLE, o.interventions = &edits; edits.steer = &no_sae);
    GENERATE(CABOCHON_ERROR_UNSUPPORTED_OPTION, o.interventions = &edits; edits.steer = &odd_mode);
    GENERATE(CABOCHON_ERROR_UNSUPPORTED_OPTION, o.interventions = &edits; edits.steer = &reserved);
    GENERATE(CABOCHON_ERROR_INVALID_ARGUMENT, o.interventions = &edits; edits.steer_count = 0; edits.watch_count = 9);
    GENERATE(CABOCHON_OK, o.top_k = UINT32_MAX, o.penalty_window = UINT32_MAX);
    GENERATE(CABOCHON_OK, o.temperature = 1e-38f);
    GENERATE(CABOCHON_OK, o.temperature = 1e38f);

    cabochon_engine_options e;
    const char *paths[] = {NULL, "relative.so", "\xff"};
    void *out = NULL;
    for (int i = 0; i < 3; i++) {
        cabochon_engine_options_init(&e, sizeof e);
        e.backend_paths = paths + i;
        e.backend_path_count = 1;
        expect("backend path", i == 2 ? CABOCHON_ERROR_INVALID_UTF8 : CABOCHON_ERROR_INVALID_ARGUMENT,
               cabochon_engine_create(&e, (void *)&out, NULL));
    }
    e.backend_path_count = SIZE_MAX;
    expect("backend paths", CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_engine_create(&e, (void *)&out, NULL));
    cabochon_engine_options_init(&e, sizeof e);
    e.threads = UINT32_MAX;
    expect("threads", CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_engine_create(&e, (void *)&out, NULL));
    cabochon_session_options of_session;
    cabochon_session_options_init(&of_session, sizeof of_session);
    of_session.reserved_ = 1;
    expect("reserved_", CABOCHON_ERROR_UNSUPPORTED_OPTION,
           cabochon_session_create(model, &of_session, (void *)&out, NULL));
    cabochon_engine_options_init(&e, SIZE_MAX);
    cabochon_engine_options_init(NULL, sizeof e);
    cabochon_engine_options_init(&e, 3);
}

/* More ids than any context holds, of which all but four would lie past the end of memory. */
static void attack_counts(void) {
    set_up();
    const int32_t *ids = last_bytes(4 * sizeof(int32_t));
    cabochon_session_options options;
    cabochon_session_options_init(&options, sizeof options);
    options.context_length = 8;
    cabochon_session *small = NULL;
    expect("small", CABOCHON_OK, cabochon_session_create(model, &options, &small, NULL));
    expect("four", CABOCHON_OK, cabochon_session_append(small, ids, 4, NULL));
    const size_t counts[] = {5, 9, 1 << 20};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        snprintf(report->doing, sizeof report->doing, "%zu ids", counts[c]);
        const cabochon_status full = CABOCHON_ERROR_CONTEXT_EXCEEDED;
        expect("append", full, cabochon_session_append(small, ids, counts[c], NULL));
        expect("generate", full, cabochon_session_generate(small, ids, counts[c], NULL, NULL, NULL, NULL, NULL));
        expect("guarded", full,
               cabochon_guard_generate(guard, small, ids, counts[c], "hi", 2, NULL, NULL, NULL, NULL, NULL, NULL));
    }
    size_t len = 0;
    double score = 0;
    const size_t many = counts[2];
    snprintf(report->doing, sizeof report->doing, "%zu ids without a session", many);
    const cabochon_status full = CABOCHON_ERROR_CONTEXT_EXCEEDED;
    expect("logits", full, cabochon_model_logits(model, ids, many, NULL, &len, NULL));
    expect("logits with", full, cabochon_model_logits_with(model, ids, many, NULL, NULL, &len, NULL));
    expect("score", full, cabochon_guard_score(guard, ids, many, &score, NULL));
    cabochon_session_free(small);
}

/* Bytes that are not UTF-8 in every place that takes text. */
static void attack_text(void) {
    set_up();
    static const char *const bad[] = {
        "\x80",   "\xc0\x80", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x82\x82\xac",
        "ok\xff", "\xfe",
    };
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        snprintf(report->doing, sizeof report->doing, "bad UTF-8 %zu", b);
        size_t len = 0, length = strlen(bad[b]);
        void *out = NULL;
        cabochon_message role = {bad[b], length, "hi", 2}, content = {"user", 4, bad[b], length};
        cabochon_status utf8 = CABOCHON_ERROR_INVALID_UTF8;
        expect("tokenize", utf8, cabochon_model_tokenize(model, bad[b], length, 0, NULL, &len, NULL));
        expect("role", utf8, cabochon_model_render_chat(model, &role, 1, 0, NULL, &len, NULL));
        expect("content", utf8, cabochon_model_apply_chat_template(model, &content, 1, 0, NULL, &len, NULL));
        expect("turn", utf8, cabochon_model_render_turn(model, &content, 1, 0, NULL, &len, NULL));
        expect("path", utf8, cabochon_model_load(engine, bad[b], NULL, (void *)&out, NULL));
        expect("backend", utf8, cabochon_model_set_backend(model, bad[b], NULL));
        expect("site", utf8, cabochon_model_site_width(model, bad[b], &len, NULL));
        expect("save", utf8, cabochon_session_save(session, bad[b], NULL));
        expect("restore", utf8, cabochon_session_restore(model, bad[b], (void *)&out, NULL));
    }
    static const char *const sites[] = {
        "",
        ".",
        "0",
        "0.",
        ".resid_post",
        "-1.resid_post",
        "4.resid_post",
        "99999999999999999999.resid_post",
        "0.resid_posts",
        "blocks.0",
        "blocks..hook_z",
        "0.resid_post.0",
    };
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
        size_t width = 0;
        snprintf(report->doing, sizeof report->doing, "site \"%s\"", sites[i]);
        expect(report->doing, CABOCHON_ERROR_INVALID_ARGUMENT,
               cabochon_model_site_width(model, sites[i], &width, NULL));
    }
}

/* Runs `body` (or the attack on `target`) in a child, and reports how it ended. */
static void in_child(const char *name, void (*body)(void), const struct target *target) {
    memset(report, 0, sizeof *report);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(240);
        if (target) attack_one(target);
        else body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(!WIFSIGNALED(status), "%s: killed by signal %d in: %s", name, WTERMSIG(status), report->doing);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "%s: exit %d", name, WEXITSTATUS(status));
    CHECK(report->wrong == 0 && report->calls > 0, "%s: %zu of %zu calls", name, report->wrong, report->calls);
}

int main(int argc, char **argv) {
    model_path = argc > 1 ? argv[1] : MODEL;
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) in_child(targets[i].name, NULL, &targets[i]);
    in_child("options", attack_options, NULL);
    in_child("counts", attack_counts, NULL);
    in_child("text", attack_text, NULL);
    return finish();
}
