/* concurrency.c - what cabochon.h promises a caller of several threads: models shared, sessions and guards cancelled
 * from elsewhere, small stacks.
 * Usage: concurrency [MODEL] */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"

static void *use_model(void *argument) {
    int32_t ids[] = {2, 5, 7, 11};
    float *logits = argument;
    size_t length = 4 * (size_t)cabochon_model_vocab_size(model);
    for (int i = 0; i < 20; i++) {
        cabochon_model *own = cabochon_model_retain(model);
        cabochon_model_logits(own, ids, 4, logits, &length, NULL);
        if (i % 5 == 0) cabochon_model_set_backend(own, "scalar", NULL);
        cabochon_model_free(own);
    }
    return NULL;
}

/* A const handle may be used by any number of threads: all get the same numbers. */
static void threads_share_a_model(void) {
    size_t floats = 4 * (size_t)cabochon_model_vocab_size(model);
    float *results[4];
    pthread_t threads[4];
    cabochon_model_set_backend(model, "scalar", NULL);
    for (int i = 0; i < 4; i++) {
        results[i] = malloc(floats * sizeof(float));
        pthread_create(&threads[i], NULL, use_model, results[i]);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 1; i < 4; i++) CHECK(memcmp(results[0], results[i], floats * sizeof(float)) == 0, "thread %d", i);
    for (int i = 0; i < 4; i++) free(results[i]);
}

enum { ANSWER = 48 };

typedef struct answering {
    int32_t ids[200 + ANSWER];
    size_t length;
} answering;

static void *answer_at_length(void *argument) {
    answering *self = argument;
    cabochon_session *session = new_session();
    cabochon_generation_options options = greedy(ANSWER);
    int32_t prompt[200];
    for (int i = 0; i < 200; i++) prompt[i] = (int32_t)(3 + (self->length * 31 + i * 7) % 200);
    CHECK(cabochon_session_generate(session, prompt, 200, &options, NULL, NULL, NULL, NULL) == CABOCHON_OK,
          "an answer");
    self->length = 200 + ANSWER;
    CHECK(cabochon_session_tokens(session, self->ids, &self->length, NULL) == CABOCHON_OK, "its tokens");
    cabochon_session_free(session);
    return NULL;
}

/* Sessions that compute at the same time share the engine's threads: each gets what it would get alone. */
static void sessions_side_by_side(void) {
    enum { MANY = 3 };
    cabochon_model_set_backend(model, "simd", NULL);
    static answering alone[MANY], together[MANY];
    for (int i = 0; i < MANY; i++) {
        alone[i].length = (size_t)i;
        answer_at_length(&alone[i]);
    }
    for (int round = 0; round < 10; round++) {
        pthread_t threads[MANY];
        for (int i = 0; i < MANY; i++) together[i].length = (size_t)i;
        for (int i = 0; i < MANY; i++) pthread_create(&threads[i], NULL, answer_at_length, &together[i]);
        for (int i = 0; i < MANY; i++) pthread_join(threads[i], NULL);
        for (int i = 0; i < MANY; i++)
            CHECK(memcmp(alone[i].ids, together[i].ids, sizeof alone[i].ids) == 0, "session %d", i);
    }
}

typedef struct saving {
    const char *path;
    int32_t count;
    int failures;
    atomic_int *running;
} saving;

static void *save_again_and_again(void *argument) {
    saving *self = argument;
    cabochon_session *session = new_session();
    int32_t ids[400];
    for (int32_t i = 0; i < self->count; i++) ids[i] = 3 + i % 90;
    CHECK(cabochon_session_append(session, ids, (size_t)self->count, NULL) == CABOCHON_OK, "append");
    for (int i = 0; i < 100; i++) self->failures += cabochon_session_save(session, self->path, NULL) != CABOCHON_OK;
    cabochon_session_free(session);
    atomic_fetch_sub(self->running, 1);
    return NULL;
}

/* Sessions of two threads that are saved under one name: who reads it finds one of them, whole. */
static void two_save_to_one_path(void) {
    char path[] = "/tmp/cabochon-saving-XXXXXX";
    close(mkstemp(path));
    atomic_int running = 2;
    saving both[2] = {{.path = path, .count = 30, .running = &running},
                      {.path = path, .count = 400, .running = &running}};
    cabochon_session *session = new_session();
    CHECK(cabochon_session_save(session, path, NULL) == CABOCHON_OK, "save");
    cabochon_session_free(session);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, save_again_and_again, &both[i]);
    int damaged = 0;
    while (atomic_load(&running) > 0) {
        session = NULL;
        damaged += cabochon_session_restore(model, path, &session, NULL) != CABOCHON_OK;
        size_t length = cabochon_session_length(session);
        damaged += session != NULL && length != 0 && length != 30 && length != 400;
        cabochon_session_free(session);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK(both[i].failures == 0, "%d of 100 saves", both[i].failures);
    }
    CHECK(damaged == 0, "%d restores", damaged);
    unlink(path);
}

static void *cancel_later(void *argument) {
    usleep(20000);
    cabochon_session_cancel(argument);
    return NULL;
}

static void cancel_from_another_thread(void) {
    cabochon_session *session = new_session();
    cabochon_generation_options options = greedy(1000000);
    int32_t prompt[] = {2, 5};
    pthread_t thread;
    pthread_create(&thread, NULL, cancel_later, session);
    FAILS(CABOCHON_ERROR_CANCELLED, cabochon_session_generate(session, prompt, 2, &options, NULL, NULL, NULL, &error));
    pthread_join(thread, NULL);
    CHECK(cabochon_session_length(session) == 0, "%zu", cabochon_session_length(session));
    CHECK(cabochon_session_append(session, prompt, 2, NULL) == CABOCHON_OK, "it goes on as if nothing had been");
    cabochon_session_free(session);
}

static _Atomic(cabochon_session *) cancelled_session;

static void *cancel_all_the_time(void *argument) {
    while (!atomic_load((atomic_bool *)argument)) cabochon_session_cancel(atomic_load(&cancelled_session));
    return NULL;
}

/* A client that goes away cancels while the answer's end frees the session: before, meanwhile, or too late. */
static void cancel_beside_free(void) {
    atomic_bool stops = false;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, cancel_all_the_time, &stops);
    for (int i = 0; i < 3000; i++) {
        cabochon_session *session = new_session();
        atomic_store(&cancelled_session, session);
        if (i % 3 == 0) sched_yield();
        cabochon_session_free(session);
    }
    atomic_store(&stops, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

/* Threads of the process that may run on as many processors, but for the calling one. */
static int threads_on(int processors) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        cpu_set_t set;
        pid_t thread = atoi(entry->d_name);
        if (thread > 0 && thread != gettid() && sched_getaffinity(thread, sizeof set, &set) == 0)
            count += CPU_COUNT(&set) == processors;
    }
    closedir(tasks);
    return count;
}

typedef struct pinned_call {
    const char *path;
    cabochon_engine *engine;
} pinned_call;

static void *compute_pinned(void *argument) {
    const pinned_call *call = argument;
    cpu_set_t mine;
    sched_getaffinity(0, sizeof mine, &mine);
    int processor = 0;
    while (!CPU_ISSET(processor, &mine)) processor++;
    CPU_ZERO(&mine);
    CPU_SET(processor, &mine);
    sched_setaffinity(0, sizeof mine, &mine);
    cabochon_model *one = NULL;
    int32_t ids[] = {2, 5, 7};
    size_t length = 3;
    CHECK(cabochon_model_load(call->engine, call->path, NULL, &one, NULL) == CABOCHON_OK, "load");
    length *= (size_t)cabochon_model_vocab_size(one);
    float *logits = malloc(length * sizeof *logits);
    CHECK(cabochon_model_logits(one, ids, 3, logits, &length, NULL) == CABOCHON_OK, "logits");
    free(logits);
    cabochon_model_free(one);
    return NULL;
}

/* The engine's threads run where its maker may, wherever the thread may that is the first to compute. */
static void first_computation_on_one_processor(const char *path) {
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    pinned_call call = {.path = path};
    CHECK(cabochon_engine_create(NULL, &call.engine, NULL) == CABOCHON_OK, "an engine");
    CHECK(cabochon_engine_thread_count(call.engine) == (uint32_t)CPU_COUNT(&all), "%u threads",
          cabochon_engine_thread_count(call.engine));
    int before = threads_on(CPU_COUNT(&all));
    pthread_t thread;
    pthread_create(&thread, NULL, compute_pinned, &call);
    pthread_join(thread, NULL);
    int started = threads_on(CPU_COUNT(&all)) - before;
    CHECK(started == CPU_COUNT(&all) - 1, "%d threads beside the caller's on %d processors", started, CPU_COUNT(&all));
    cabochon_engine_free(call.engine);
}

static int32_t cancel_now(void *user_data, const cabochon_token *token) {
    (void)token;
    cabochon_session_cancel(user_data);
    return 0;
}

/* A request that comes when no call is running waits for one that computes: a call that fails before that
 * leaves it, and one that computes answers what came while it ran. */
static void pending_cancellation(void) {
    int32_t ids[] = {2, 50, 60}, bad = -5;
    cabochon_session *session = new_session();
    CHECK(cabochon_session_append(session, ids, 3, NULL) == CABOCHON_OK, "append");
    cabochon_guard *guard = NULL;
    CHECK(cabochon_guard_create(model, NULL, &guard, NULL) == CABOCHON_OK, "a guard");
    cabochon_guarding_options without_threshold;
    cabochon_guarding_options_init(&without_threshold, sizeof without_threshold);
    cabochon_generation_options good = greedy(1), cold = greedy(1), with_draft = greedy(1);
    cold.temperature = -1;
    cold.sampling = CABOCHON_SAMPLING_RANDOM;
    with_draft.draft = (const cabochon_model *)session;
    for (int i = 0; i < 6; i++) {
        cabochon_session_cancel(session);
        cabochon_status status = CABOCHON_OK;
        if (i == 0) status = cabochon_session_generate(session, ids, 1, &cold, NULL, NULL, NULL, NULL);
        if (i == 1) status = cabochon_session_generate(session, &bad, 1, &good, NULL, NULL, NULL, NULL);
        if (i == 2) status = cabochon_session_generate(session, ids, 1, &with_draft, NULL, NULL, NULL, NULL);
        if (i == 3) status = cabochon_session_append(session, &bad, 1, NULL);
        if (i == 4)
            status = cabochon_guard_generate(guard, session, ids, 1, "hi", 2, &good, &without_threshold, NULL, NULL,
                                             NULL, NULL);
        if (i == 5) status = cabochon_session_truncate(session, 9, NULL);
        CHECK(status < 0 && status != CABOCHON_ERROR_CANCELLED, "case %d: %d", i, (int)status);
        if (i % 2 == 0) {
            FAILS(CABOCHON_ERROR_CANCELLED, cabochon_session_append(session, ids, 1, &error));
        } else {
            FAILS(CABOCHON_ERROR_CANCELLED,
                  cabochon_session_generate(session, NULL, 0, &good, NULL, NULL, NULL, &error));
        }
        CHECK(cabochon_session_length(session) == 3, "case %d", i);
        CHECK(cabochon_session_append(session, ids, 1, NULL) == CABOCHON_OK, "one request stops one call");
        CHECK(cabochon_session_truncate(session, 3, NULL) == CABOCHON_OK, "truncate");
    }
    CHECK(cabochon_session_generate(session, NULL, 0, &good, cancel_now, session, NULL, NULL) == CABOCHON_OK,
          "cancelled at its end");
    CHECK(cabochon_session_append(session, ids, 1, NULL) == CABOCHON_OK, "the next call is not the one that was meant");

    size_t length = 3 * (size_t)cabochon_model_vocab_size(model);
    float *logits = malloc(length * sizeof(float));
    cabochon_model_cancel(model);
    FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_logits(model, &bad, 1, logits, &length, &error));
    length = 3 * (size_t)cabochon_model_vocab_size(model);
    FAILS(CABOCHON_ERROR_CANCELLED, cabochon_model_logits(model, ids, 3, logits, &length, &error));
    CHECK(cabochon_model_logits(model, ids, 3, logits, &length, NULL) == CABOCHON_OK, "one request stops one call");
    free(logits);
    double score = 0;
    cabochon_guard_cancel(guard);
    FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_guard_score(guard, &bad, 1, &score, &error));
    FAILS(CABOCHON_ERROR_CANCELLED, cabochon_guard_score(guard, ids, 3, &score, &error));
    cabochon_guard_free(guard);
    cabochon_session_free(session);
}

enum { MANY_ROWS = 100000 };

typedef struct judging {
    cabochon_guard *guard;
    atomic_size_t rows;
    cabochon_status status;
} judging;

static int32_t count_row(void *user_data, size_t row, const cabochon_verdict *verdicts, size_t count,
                         const cabochon_error *failure) {
    (void)row, (void)verdicts, (void)count, (void)failure;
    atomic_fetch_add(&((judging *)user_data)->rows, 1);
    return 0;
}

static void *judge_many(void *argument) {
    judging *self = argument;
    static cabochon_guard_row rows[MANY_ROWS];
    for (size_t i = 0; i < MANY_ROWS; i++) rows[i] = (cabochon_guard_row){"Hello", 5, NULL, 0};
    self->status = cabochon_guard_classify_rows(self->guard, rows, MANY_ROWS, NULL, 0, count_row, self, NULL);
    return NULL;
}

static int32_t cancel_the_guard(void *user_data, size_t row, const cabochon_verdict *verdicts, size_t count,
                                const cabochon_error *failure) {
    (void)row, (void)verdicts, (void)count, (void)failure;
    cabochon_guard_cancel(user_data);
    return 0;
}

static void cancel_a_guard(void) {
    cabochon_guard_options options;
    cabochon_guard_options_init(&options, sizeof options);
    options.token_budget = 1;
    cabochon_guard *guard = NULL, *other = NULL;
    CHECK(cabochon_guard_create(model, &options, &guard, NULL) == CABOCHON_OK, "a guard");
    CHECK(cabochon_guard_create(model, &options, &other, NULL) == CABOCHON_OK, "another");
    cabochon_verdict verdicts[4];
    size_t count = 4;
    double score = 0;
    int32_t ids[] = {2, 5};

    cabochon_guard_cancel(guard);
    FAILS(CABOCHON_ERROR_CANCELLED,
          cabochon_guard_classify(guard, "Hello", 5, NULL, 0, NULL, 0, verdicts, &count, &error));
    CHECK(cabochon_guard_classify(guard, "Hello", 5, NULL, 0, NULL, 0, verdicts, &count, NULL) == CABOCHON_OK,
          "one request stops one call that comes after it");
    cabochon_guard_cancel(guard);
    FAILS(CABOCHON_ERROR_CANCELLED, cabochon_guard_score(guard, ids, 2, &score, &error));

    /* When nothing is left to compute, too: a caller's loop of calls is stopped by one request, whenever it comes. */
    cabochon_guard_row last = {"Hello", 5, NULL, 0};
    FAILS(CABOCHON_ERROR_CANCELLED,
          cabochon_guard_classify_rows(guard, &last, 1, NULL, 0, cancel_the_guard, guard, &error));

    judging both[2] = {{.guard = guard}, {.guard = guard}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, judge_many, &both[i]);
    while (atomic_load(&both[0].rows) == 0 || atomic_load(&both[1].rows) == 0) usleep(1000);
    cabochon_guard_cancel(guard);
    CHECK(cabochon_guard_classify(other, "Hello", 5, NULL, 0, NULL, 0, verdicts, &count, NULL) == CABOCHON_OK,
          "another guard goes on");
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK(both[i].status == CABOCHON_ERROR_CANCELLED, "%d", (int)both[i].status);
        CHECK(atomic_load(&both[i].rows) < MANY_ROWS, "all rows were judged");
    }
    CHECK(cabochon_guard_score(guard, ids, 2, &score, NULL) == CABOCHON_OK, "it goes on as if nothing had been");
    cabochon_guard_cancel(NULL);
    cabochon_guard_free(guard);
    cabochon_guard_free(other);
}

static void *do_a_bit_of_all(void *path) {
    cabochon_engine *own = NULL;
    cabochon_model *one = NULL;
    cabochon_session *session = NULL;
    cabochon_guard *guard = NULL;
    CHECK(cabochon_engine_create(NULL, &own, NULL) == CABOCHON_OK, "an engine");
    CHECK(cabochon_model_load(own, path, NULL, &one, NULL) == CABOCHON_OK, "a model");
    CHECK(cabochon_session_create(one, NULL, &session, NULL) == CABOCHON_OK, "a session");
    CHECK(cabochon_guard_create(one, NULL, &guard, NULL) == CABOCHON_OK, "a guard");
    size_t length = 0;
    CHECK(cabochon_model_describe(one, NULL, &length, NULL) == CABOCHON_OK, "describe");
    const cabochon_message message = {"user", 4, "Hello", 5};
    CHECK(cabochon_model_render_chat(one, &message, 1, 0, NULL, &length, NULL) == CABOCHON_OK, "chat");
    cabochon_generation_options options = greedy(8);
    options.sampling = CABOCHON_SAMPLING_RANDOM;
    options.top_p = 0.9f;
    options.top_k = 40;
    options.logprobs = 5;
    options.repetition_penalty = 1.1f;
    double threshold = 2;
    cabochon_guarding_options guarding;
    cabochon_guarding_options_init(&guarding, sizeof guarding);
    guarding.thresholds = &threshold;
    guarding.threshold_count = 1;
    int32_t ids[64];
    for (int i = 0; i < 64; i++) ids[i] = 2 + i;
    CHECK(cabochon_guard_generate(guard, session, ids, 64, "hi", 2, &options, &guarding, NULL, NULL, NULL, NULL) ==
              CABOCHON_OK,
          "an answer");
    cabochon_guard_free(guard);
    cabochon_session_free(session);
    cabochon_model_free(one);
    cabochon_engine_free(own);
    return NULL;
}

/* On a thread with a stack as small as the header allows. */
static void small_stack(const char *path) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, 256 << 10) == 0, "a stack");
    pthread_create(&thread, &attributes, do_a_bit_of_all, (void *)path);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : MODEL;
    if (!open_model(path)) return 1;
    threads_share_a_model();
    sessions_side_by_side();
    two_save_to_one_path();
    cancel_from_another_thread();
    cancel_beside_free();
    pending_cancellation();
    cancel_a_guard();
    first_computation_on_one_processor(path);
    small_stack(path);
    close_model();
    return finish();
}
