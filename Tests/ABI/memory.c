/* memory.c - what becomes of a call that is refused memory: OUT_OF_MEMORY, with everything as before. Its
 * sizes are the caller's, and so large that only they can be what there is no room for.
 * Usage: memory [MODEL] */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

/* Address space from here on: what the process has, and so much more. */
static void leave_room(size_t bytes) {
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%lu", &pages) == 1, "no /proc");
    if (statm) fclose(statm);
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = pages * 4096 + bytes;
    setrlimit(RLIMIT_AS, &limit);
}

static void leave_all_room(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_AS, &limit);
}

/* Cancelled beforehand, so that nobody has to wait for what does find memory. */
static void many_tokens(void) {
    enum { MANY = 12000000 };
    cabochon_session_options options;
    cabochon_session_options_init(&options, sizeof options);
    options.context_length = 1 << 24;
    cabochon_session *session = NULL;
    CHECK(cabochon_session_create(model, &options, &session, NULL) == CABOCHON_OK, "a session");
    int32_t few[] = {2, 5, 7}, *many = malloc(MANY * sizeof *many);
    for (size_t i = 0; i < MANY; i++) many[i] = 5;
    CHECK(cabochon_session_append(session, few, 3, NULL) == CABOCHON_OK, "append");
    cabochon_generation_options answer = greedy(2);
    answer.repetition_penalty = 2;
    answer.penalty_window = CABOCHON_PENALTY_WINDOW_ALL;
    for (int i = 0; i < 2; i++) {
        cabochon_session_cancel(session);
        leave_room(20 << 20);
        cabochon_status status = i == 0
                                     ? cabochon_session_append(session, many, MANY, NULL)
                                     : cabochon_session_generate(session, many, MANY, &answer, NULL, NULL, NULL, NULL);
        leave_all_room();
        CHECK(status == CABOCHON_ERROR_CANCELLED || status == CABOCHON_ERROR_OUT_OF_MEMORY, "%d", (int)status);
        CHECK(cabochon_session_length(session) == 3, "%zu", cabochon_session_length(session));
        if (status == CABOCHON_ERROR_OUT_OF_MEMORY)
            FAILS(CABOCHON_ERROR_CANCELLED, cabochon_session_append(session, few, 1, &error));
    }
    CHECK(cabochon_session_append(session, few, 3, NULL) == CABOCHON_OK, "the session goes on");
    free(many);
    cabochon_session_free(session);
}

static void long_texts(void) {
    enum { LONG = 60000000 };
    char *text = malloc(LONG);
    size_t count = 0;
    /* Words, which are merged one by one; a single one, whose merges stand together; and one token a byte. */
    for (int kind = 0; kind < 3; kind++) {
        for (size_t i = 0; i < LONG; i++) text[i] = kind == 0 ? "the moon "[i % 9] : kind == 1 ? 'a' : 1;
        leave_room(30 << 20);
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY, cabochon_model_tokenize(model, text, LONG, 0, NULL, &count, &error));
        leave_room(100 << 20);
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY, cabochon_model_tokenize(model, text, LONG, 0, NULL, &count, &error));
        leave_all_room();
    }
    CHECK(cabochon_model_tokenize(model, text, 100, 0, NULL, &count, NULL) == CABOCHON_OK && count > 0, "it goes on");
    free(text);
}

static void many_ids(void) {
    enum { MANY = 20000000 };
    int32_t *ids = malloc(MANY * sizeof *ids);
    size_t count = 0;
    int32_t moon[16];
    size_t length = 16;
    CHECK(cabochon_model_tokenize(model, "moon", 4, 0, moon, &length, NULL) == CABOCHON_OK && length > 0, "ids");
    for (size_t i = 0; i < MANY; i++) ids[i] = moon[i % length];
    leave_room(10 << 20);
    FAILS(CABOCHON_ERROR_OUT_OF_MEMORY, cabochon_model_detokenize(model, ids, MANY, NULL, &count, &error));
    leave_all_room();
    CHECK(cabochon_model_detokenize(model, ids, MANY, NULL, &count, NULL) == CABOCHON_OK && count >= MANY, "%zu",
          count);
    free(ids);
}

/* One message; two of one role, which become a turn; and what an answer is continued with. */
static void long_messages(void) {
    enum { LONG = 60000000 };
    char *text = malloc(LONG);
    memset(text, 'a', LONG);
    cabochon_message messages[2] = {{"user", 4, text, LONG}, {"user", 4, text, LONG}};
    size_t count = 0;
    for (size_t size = 1; size <= 2; size++) {
        leave_room(30 << 20);
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY,
              cabochon_model_apply_chat_template(model, messages, size, 0, NULL, &count, &error));
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY, cabochon_model_render_chat(model, messages, size, 0, NULL, &count, &error));
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY, cabochon_model_render_turn(model, messages, size, 0, NULL, &count, &error));
        leave_all_room();
    }
    messages[1] = (cabochon_message){text, LONG, "b", 1};
    leave_room(30 << 20);
    FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_render_chat(model, messages + 1, 1, 0, NULL, &count, &error));
    leave_all_room();
    messages[0].content_len = 100;
    CHECK(cabochon_model_render_chat(model, messages, 1, 0, NULL, &count, NULL) == CABOCHON_OK && count > 0,
          "it goes on");
    free(text);
}

static int32_t note_row(void *told, size_t row, const cabochon_verdict *verdicts, size_t count,
                        const cabochon_error *error) {
    (void)verdicts, (void)count;
    ((cabochon_status *)told)[row] = cabochon_error_code(error);
    return 0;
}

/* A guard's prompts and responses, one and among others, and those of an answer that it guards. */
static void long_content(void) {
    enum { LONG = 60000000 };
    char *text = malloc(LONG);
    memset(text, 'a', LONG);
    cabochon_guard *guard = NULL;
    CHECK(cabochon_guard_create(model, NULL, &guard, NULL) == CABOCHON_OK, "a guard");
    cabochon_guard_policy policy = {{"harassment", 10}, {NULL, 0}};
    cabochon_verdict verdict;
    cabochon_guarding_options guarding;
    cabochon_guarding_options_init(&guarding, sizeof guarding);
    double threshold = 0.9;
    guarding.thresholds = &threshold;
    guarding.threshold_count = 1;
    cabochon_generation_options answer = greedy(2);
    cabochon_session *session = new_session();
    int32_t id = 5;
    for (size_t room = 30; room <= 100; room += 70) {
        size_t one = 1, count = 0;
        leave_room(room << 20);
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY,
              cabochon_guard_classify(guard, text, LONG, NULL, 0, &policy, 1, &verdict, &one, &error));
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY,
              cabochon_guard_classify(guard, "a", 1, text, LONG, &policy, 1, &verdict, &one, &error));
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY,
              cabochon_guard_render(guard, text, LONG, NULL, 0, &policy, NULL, &count, &error));
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY, cabochon_guard_generate(guard, session, &id, 1, text, LONG, &answer,
                                                                    &guarding, NULL, NULL, NULL, &error));
        leave_all_room();
        CHECK(cabochon_session_length(session) == 0, "%zu", cabochon_session_length(session));
    }
    cabochon_guard_row rows[3] = {{"Hello", 5, NULL, 0}, {text, LONG, NULL, 0}, {"Hello", 5, "you", 3}};
    cabochon_status told[3] = {-1, -1, -1};
    leave_room(100 << 20);
    CHECK(cabochon_guard_classify_rows(guard, rows, 3, &policy, 1, note_row, told, NULL) == CABOCHON_OK, "rows");
    leave_all_room();
    CHECK(told[0] == CABOCHON_OK && told[1] == CABOCHON_ERROR_OUT_OF_MEMORY && told[2] == CABOCHON_OK, "%d, %d, %d",
          (int)told[0], (int)told[1], (int)told[2]);
    cabochon_session_free(session);
    cabochon_guard_free(guard);
    free(text);
}

static void large_file(void) {
    char path[] = "/tmp/cabochon-memory-XXXXXX.gguf";
    int descriptor = mkstemps(path, 5);
    CHECK(descriptor >= 0 && ftruncate(descriptor, 1 << 30) == 0, "a file of 1 GB, none of it on the disk");
    close(descriptor);
    cabochon_model_options options;
    cabochon_model *large = NULL;
    cabochon_model_options_init(&options, sizeof options);
    for (int copied = 0; copied < 2; copied++) {
        options.flags = copied ? CABOCHON_LOAD_COPY : 0;
        leave_room(100 << 20);
        FAILS(CABOCHON_ERROR_OUT_OF_MEMORY, cabochon_model_load(engine, path, &options, &large, &error));
        leave_all_room();
    }
    FAILS(CABOCHON_ERROR_INVALID_FILE, cabochon_model_load(engine, path, NULL, &large, &error));
    unlink(path);
}

/* Lists the backends and computes with the last that needs a library of others. */
static int list_and_compute(const char *path) {
    cabochon_engine *own = NULL;
    cabochon_model *one = NULL;
    cabochon_model_options options;
    cabochon_model_options_init(&options, sizeof options);
    options.backend = "blas";
    cabochon_status status = cabochon_engine_create(NULL, &own, NULL);
    if (status != CABOCHON_OK) return status == CABOCHON_ERROR_OUT_OF_MEMORY ? 0 : 1;
    if (cabochon_engine_backend_count(own) == 0) return 2;
    status = cabochon_model_load(own, path, &options, &one, NULL);
    if (status == CABOCHON_ERROR_BACKEND || status == CABOCHON_ERROR_OUT_OF_MEMORY) return 0;
    if (status != CABOCHON_OK) return 3;
    int32_t ids[64];
    for (int i = 0; i < 64; i++) ids[i] = 2 + i;
    size_t length = 64 * (size_t)cabochon_model_vocab_size(one);
    float *logits = malloc(length * sizeof *logits);
    status = logits ? cabochon_model_logits(one, ids, 64, logits, &length, NULL) : CABOCHON_ERROR_OUT_OF_MEMORY;
    return status == CABOCHON_OK || status == CABOCHON_ERROR_OUT_OF_MEMORY ? 0 : 4;
}

/* OpenBLAS asks without end for memory that it is refused. Where it would not find its room, it is not asked. In
 * children, as a process opens it once; before any here has done so. */
static void little_address_space(const char *path) {
    for (size_t megabytes = 40; megabytes <= 1400; megabytes += megabytes < 400 ? 45 : 125) {
        pid_t child = fork();
        if (child == 0) {
            leave_room(megabytes << 20);
            _exit(list_and_compute(path));
        }
        /* One that hangs has all signals blocked. */
        int status = 0, waited = 0;
        for (; waitpid(child, &status, WNOHANG) == 0 && waited < 3000; waited++) usleep(10000);
        if (waited == 3000) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
        }
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%zu MB: 0x%x", megabytes, status);
    }
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : MODEL;
    little_address_space(path);
    if (!open_model(path)) return 1;
    many_tokens();
    long_texts();
    many_ids();
    long_messages();
    long_content();
    large_file();
    close_model();
    return finish();
}
