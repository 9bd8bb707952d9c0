/* contract.c - what cabochon.h promises a well-behaved caller: ownership, two-call outputs, growth
 * of options, sessions that fork, and that fail as if nothing had happened.
 * Usage: contract [MODEL] */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"

static size_t tokenize(const char *text, int32_t *ids, size_t capacity) {
    size_t count = capacity;
    cabochon_status status =
        cabochon_model_tokenize(model, text, strlen(text), CABOCHON_TOKENIZE_ADD_BOS, ids, &count, NULL);
    CHECK(status == CABOCHON_OK, "status %d", (int)status);
    return status == CABOCHON_OK ? count : 0;
}

static void versions_and_statuses(void) {
    CHECK(cabochon_abi_version() >> 16 == CABOCHON_VERSION_MAJOR, "0x%x", cabochon_abi_version());
    CHECK(strcmp(cabochon_version(), "1.0.0") == 0, "%s", cabochon_version());
    CHECK(strcmp(cabochon_status_name(CABOCHON_OK), "ok") == 0, "no name for 0");
    for (int status = -1; status >= CABOCHON_ERROR_INTERNAL; status--)
        CHECK(strcmp(cabochon_status_name(status), "unknown") != 0, "status %d has no name", status);
    CHECK(strcmp(cabochon_status_name(-999), "unknown") == 0, "a name for -999");
    CHECK(cabochon_error_code(NULL) == CABOCHON_OK, "NULL is no failure");
    CHECK(strcmp(cabochon_error_message(NULL, NULL), "") == 0, "NULL has no message");
}

static void ownership(const char *path) {
    cabochon_engine *own = NULL;
    cabochon_model *one = NULL;
    cabochon_session *session = NULL;
    CHECK(cabochon_engine_create(NULL, &own, NULL) == CABOCHON_OK, "no engine");
    CHECK(cabochon_model_load(own, path, NULL, &one, NULL) == CABOCHON_OK, "no model");
    CHECK(cabochon_session_create(one, NULL, &session, NULL) == CABOCHON_OK, "no session");
    CHECK(cabochon_model_retain(one) == one, "retain gives the same handle");
    cabochon_engine_free(own);
    cabochon_model_free(one);
    CHECK(cabochon_model_vocab_size(one) > 0, "one reference is left");
    cabochon_model_free(one);
    CHECK(cabochon_model_vocab_size(one) == 0, "a freed model answers 0");
    size_t length = 0;
    FAILS(CABOCHON_ERROR_INVALID_HANDLE, cabochon_model_backend(one, NULL, &length, &error));
    int32_t ids[] = {2, 5, 7};
    CHECK(cabochon_session_append(session, ids, 3, NULL) == CABOCHON_OK, "the session lives without its parents");
    FAILS(CABOCHON_ERROR_INVALID_HANDLE, cabochon_session_append((cabochon_session *)model, ids, 3, &error));
    cabochon_session_free(session);
    cabochon_session_free(session);
    cabochon_engine_free(NULL);
    cabochon_model_free(NULL);
    cabochon_session_free(NULL);
    cabochon_error_free(NULL);
    cabochon_generation_free(NULL);
}

struct log {
    int lines, wrong;
};

static void count_line(void *user_data, uint32_t level, const char *message, size_t message_len) {
    struct log *log = user_data;
    log->lines++;
    log->wrong += level < CABOCHON_LOG_DEBUG || level > CABOCHON_LOG_ERROR || strlen(message) != message_len;
}

static void log_callback(const char *path) {
    struct log log = {0, 0};
    cabochon_engine_options options;
    cabochon_engine *talkative = NULL;
    cabochon_model *one = NULL;
    cabochon_engine_options_init(&options, sizeof options);
    options.log = count_line;
    options.log_user_data = &log;
    CHECK(cabochon_engine_create(&options, &talkative, NULL) == CABOCHON_OK, "no engine");
    CHECK(cabochon_model_load(talkative, path, NULL, &one, NULL) == CABOCHON_OK, "no model");
    CHECK(log.lines > 0 && log.wrong == 0, "%d of %d lines", log.wrong, log.lines);
    cabochon_model_free(one);
    cabochon_engine_free(talkative);
}

/* Handles come and go by the hundred thousand; one that is freed stays recognisable for long. */
static void many_handles(void) {
    cabochon_error *stale = NULL, *error = NULL;
    size_t length = 0, recognised = 0;
    cabochon_model_backend(NULL, NULL, &length, &stale);
    cabochon_error_free(stale);
    for (int i = 0; i < 300000; i++) {
        if (cabochon_model_backend(NULL, NULL, &length, &error) != CABOCHON_ERROR_INVALID_HANDLE || !error) break;
        if (i < 4000) recognised += cabochon_error_code(stale) == CABOCHON_ERROR_INVALID_HANDLE;
        cabochon_error_free(error);
        error = NULL;
    }
    CHECK(recognised == 4000, "a freed handle, after up to 4,000 others: %zu times", recognised);
    CHECK(cabochon_model_backend(NULL, NULL, &length, &error) != 0 && error, "there is still room for errors");
    cabochon_error_free(error);
}

/* With no room for another handle there is no answer, and the session stands as before. */
static void no_handle_left(void) {
    enum { MOST = 1 << 19 };
    cabochon_error **held = malloc(MOST * sizeof *held);
    int32_t prompt[] = {2, 50, 60};
    cabochon_generation_options options = greedy(2);
    cabochon_guarding_options guarding;
    cabochon_guarding_options_init(&guarding, sizeof guarding);
    guarding.mode = CABOCHON_GUARDING_AUDIT;
    cabochon_session *session = new_session();
    cabochon_guard *guard = NULL;
    CHECK(cabochon_guard_create(model, NULL, &guard, NULL) == CABOCHON_OK, "a guard");
    CHECK(cabochon_session_append(session, prompt, 3, NULL) == CABOCHON_OK, "append");
    size_t count = 0;
    do {
        held[count] = NULL;
        cabochon_session_append(NULL, prompt, 1, &held[count]);
    } while (held[count] != NULL && ++count < MOST);
    CHECK(count > 0 && count < MOST, "%zu handles", count);
    cabochon_generation *answer = NULL;
    CHECK(cabochon_session_generate(session, prompt, 1, &options, NULL, NULL, &answer, NULL) ==
              CABOCHON_ERROR_OUT_OF_MEMORY,
          "no answer without a handle");
    CHECK(answer == NULL && cabochon_session_length(session) == 3, "%zu tokens", cabochon_session_length(session));
    CHECK(cabochon_guard_generate(guard, session, prompt, 1, "hi", 2, &options, &guarding, NULL, NULL, &answer, NULL) ==
              CABOCHON_ERROR_OUT_OF_MEMORY,
          "no guarded answer either");
    CHECK(answer == NULL && cabochon_session_length(session) == 3, "%zu tokens", cabochon_session_length(session));
    CHECK(cabochon_session_generate(session, prompt, 1, &options, NULL, NULL, NULL, NULL) == CABOCHON_OK,
          "an answer that needs none");
    while (count > 0) cabochon_error_free(held[--count]);
    free(held);
    cabochon_guard_free(guard);
    cabochon_session_free(session);
}

/* Loaded as a copy, a model survives that its file is cut to nothing. */
static void copied_file(const char *folder) {
    char source[4096], path[] = "/tmp/cabochon-copy-XXXXXX.gguf", bytes[1 << 16];
    snprintf(source, sizeof source, "%s/gemma2-tiny-f32.gguf", folder);
    FILE *from = fopen(source, "rb"), *to = fdopen(mkstemps(path, 5), "wb");
    for (size_t length; from && to && (length = fread(bytes, 1, sizeof bytes, from)) > 0;) fwrite(bytes, 1, length, to);
    if (from) fclose(from);
    if (to) fclose(to);
    cabochon_model_options options;
    cabochon_model *copy = NULL, *mapped = NULL;
    cabochon_model_options_init(&options, sizeof options);
    CHECK(cabochon_model_load(engine, path, &options, &mapped, NULL) == CABOCHON_OK, "mapped");
    options.flags = CABOCHON_LOAD_COPY;
    CHECK(cabochon_model_load(engine, path, &options, &copy, NULL) == CABOCHON_OK, "copied");
    int32_t ids[] = {2, 5, 7};
    size_t length = 3 * (size_t)cabochon_model_vocab_size(copy);
    float *expected = malloc(length * sizeof(float)), *logits = malloc(length * sizeof(float));
    CHECK(cabochon_model_logits(mapped, ids, 3, expected, &length, NULL) == CABOCHON_OK, "logits");
    cabochon_model_free(mapped);
    CHECK(truncate(path, 0) == 0, "cannot truncate %s", path);
    CHECK(cabochon_model_logits(copy, ids, 3, logits, &length, NULL) == CABOCHON_OK, "logits of the copy");
    CHECK(memcmp(logits, expected, length * sizeof(float)) == 0, "the copy computes the same");
    unlink(path);
    free(expected);
    free(logits);
    cabochon_model_free(copy);
}

static void two_calls(void) {
    size_t needed = 0, length = 1;
    CHECK(cabochon_engine_describe(engine, NULL, &needed, NULL) == CABOCHON_OK && needed > 10, "%zu", needed);
    char small[2] = "x";
    FAILS(CABOCHON_ERROR_BUFFER_TOO_SMALL, cabochon_engine_describe(engine, small, &length, &error));
    CHECK(length == needed && small[0] == 'x', "the needed length and an untouched buffer, not %zu", length);
    char *text = malloc(needed + 1);
    text[needed] = '\x7f';
    CHECK(cabochon_engine_describe(engine, text, &length, NULL) == CABOCHON_OK && length == needed, "%zu", length);
    CHECK(text[0] == '{' && text[needed - 1] == '}' && text[needed] == '\x7f', "one JSON object and no byte more");
    free(text);

    int32_t ids[64];
    size_t count = tokenize("Hello world", ids, 64);
    char back[64];
    length = sizeof back;
    CHECK(cabochon_model_detokenize(model, ids, count, back, &length, NULL) == CABOCHON_OK, "detokenize");
    CHECK(length == 11 && memcmp(back, "Hello world", 11) == 0, "%.*s", (int)length, back);
}

static void options_grow(void) {
    struct {
        cabochon_session_options known;
        uint64_t later[2];
    } longer;
    cabochon_session_options_init(&longer.known, sizeof longer);
    CHECK(longer.known.struct_size == sizeof longer && longer.later[1] == 0, "init fills the caller's struct");
    cabochon_session *session = NULL;
    longer.known.context_length = 100;
    CHECK(cabochon_session_create(model, &longer.known, &session, NULL) == CABOCHON_OK, "a longer struct of zeros");
    CHECK(cabochon_session_context_length(session) == 100, "its known part counts");
    cabochon_session_free(session);
    longer.later[1] = 1;
    FAILS(CABOCHON_ERROR_UNSUPPORTED_OPTION, cabochon_session_create(model, &longer.known, &session, &error));
    CHECK(session == NULL, "out-handles are NULL after a failure");
    longer.known.struct_size = 8;
    FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_session_create(model, &longer.known, &session, &error));
}

struct listener {
    size_t calls, text_length, stop_after, cancel_after;
    char text[4096];
    cabochon_session *cancels, *busy;
    size_t refused;
    const char *backend;
};

static int32_t listen(void *user_data, const cabochon_token *token) {
    struct listener *listener = user_data;
    listener->calls++;
    if (listener->text_length + token->text_len < sizeof listener->text) {
        memcpy(listener->text + listener->text_length, token->text, token->text_len);
        listener->text_length += token->text_len;
    }
    int32_t one = 5, held[64];
    size_t room = 64;
    if (listener->busy) {
        listener->refused += cabochon_session_append(listener->busy, &one, 1, NULL) == CABOCHON_ERROR_INVALID_ARGUMENT;
        CHECK(cabochon_session_tokens(listener->busy, held, &room, NULL) == CABOCHON_OK, "it may look at the tokens");
    }
    if (listener->cancels && listener->calls == listener->cancel_after) cabochon_session_cancel(listener->cancels);
    if (listener->backend && listener->calls == 3) cabochon_model_set_backend(model, listener->backend, NULL);
    return listener->stop_after && listener->calls >= listener->stop_after;
}

/* Whether two sessions go on alike: the next logits agree bit for bit. */
static int same_logits(cabochon_session *one, cabochon_session *other) {
    uint32_t vocabulary = cabochon_model_vocab_size(model);
    float *a = malloc(vocabulary * sizeof *a), *b = malloc(vocabulary * sizeof *b);
    size_t length = vocabulary;
    CHECK(cabochon_session_logits(one, a, &length, NULL) == CABOCHON_OK && length == vocabulary, "%zu", length);
    CHECK(cabochon_session_logits(other, b, &length, NULL) == CABOCHON_OK && length == vocabulary, "%zu", length);
    int same = memcmp(a, b, vocabulary * sizeof *a) == 0;
    free(a);
    free(b);
    return same;
}

static void generation(void) {
    int32_t prompt[64];
    size_t count = tokenize("The quick brown fox", prompt, 64), length = 0, tokens = 0;
    cabochon_generation_options options = greedy(12);
    cabochon_session *session = new_session();
    cabochon_generation *whole = NULL;
    struct listener listener = {0};
    listener.busy = session;
    CHECK(cabochon_session_generate(session, prompt, count, &options, listen, &listener, &whole, NULL) == CABOCHON_OK,
          "");
    const int32_t *ids = cabochon_generation_tokens(whole, &tokens);
    const char *text = cabochon_generation_text(whole, &length);
    CHECK(tokens == 12 && listener.calls == 12, "%zu tokens in %zu calls", tokens, listener.calls);
    CHECK(listener.refused == 12, "a callback may not use its session; %zu times refused", listener.refused);
    CHECK(length == listener.text_length && memcmp(text, listener.text, length) == 0,
          "the callbacks' text is the answer's");
    CHECK(text[length] == 0, "NUL-terminated");
    CHECK(cabochon_session_length(session) == count + 12, "%zu", cabochon_session_length(session));
    cabochon_generation_summary summary = {.struct_size = sizeof summary};
    CHECK(cabochon_generation_get_summary(whole, &summary, NULL) == CABOCHON_OK, "summary");
    CHECK(summary.finish_reason == CABOCHON_FINISH_LENGTH && summary.prompt_tokens == count, "%u",
          summary.finish_reason);
    CHECK(summary.decode_tokens == 12 && summary.stop_token == -1, "%u", summary.decode_tokens);

    /* In two calls, and stopped by the callback in between: the same tokens. */
    cabochon_session *second = new_session();
    struct listener first_part = {0};
    first_part.stop_after = 5;
    cabochon_generation *part = NULL;
    CHECK(cabochon_session_generate(second, prompt, count, &options, listen, &first_part, &part, NULL) == CABOCHON_OK,
          "");
    cabochon_generation_get_summary(part, &summary, NULL);
    CHECK(summary.finish_reason == CABOCHON_FINISH_CALLBACK, "%u", summary.finish_reason);
    cabochon_generation_free(part);
    options.max_tokens = 7;
    CHECK(cabochon_session_generate(second, NULL, 0, &options, NULL, NULL, &part, NULL) == CABOCHON_OK, "going on");
    size_t rest = 0;
    const int32_t *rest_ids = cabochon_generation_tokens(part, &rest);
    CHECK(rest == 7 && memcmp(ids + 5, rest_ids, 7 * sizeof *ids) == 0, "the rest is that of the whole answer");
    cabochon_generation_free(part);

    /* Cancelled in its middle: as if it had never been. */
    struct listener cancels = {0};
    cancels.cancels = second;
    cancels.cancel_after = 3;
    size_t before = cabochon_session_length(second);
    part = whole;
    FAILS(CABOCHON_ERROR_CANCELLED,
          cabochon_session_generate(second, prompt + 1, 2, &options, listen, &cancels, &part, &error));
    CHECK(part == NULL && cabochon_session_length(second) == before, "%zu", cabochon_session_length(second));
    CHECK(cancels.calls == 3, "stopped within a token, not after %zu", cancels.calls);

    CHECK(same_logits(session, second), "logits after the same tokens");

    /* A backend swapped in the third token's callback loses none of them. */
    cabochon_session *third = new_session();
    struct listener swaps = {0};
    swaps.backend = "scalar";
    options.max_tokens = 12;
    CHECK(cabochon_session_generate(third, prompt, count, &options, listen, &swaps, &part, NULL) == CABOCHON_OK, "");
    CHECK(cabochon_session_length(third) == count + 12, "%zu", cabochon_session_length(third));
    cabochon_generation_free(part);

    cabochon_generation_free(whole);
    cabochon_session_free(session);
    cabochon_session_free(second);
    cabochon_session_free(third);
}

/* What the last token's computation has left when steering begins: all; nothing yet, after an answer;
 * keys and values only. */
enum beginning { APPENDED, ANSWERED, TRUNCATED };

static cabochon_session *begin(enum beginning beginning) {
    int32_t ids[] = {2, 50, 60, 70, 80, 90};
    cabochon_generation_options options = greedy(3);
    cabochon_session *session = new_session();
    CHECK(cabochon_session_append(session, ids, 6, NULL) == CABOCHON_OK, "append");
    if (beginning == ANSWERED)
        CHECK(cabochon_session_generate(session, NULL, 0, &options, NULL, NULL, NULL, NULL) == CABOCHON_OK, "answer");
    if (beginning == TRUNCATED) CHECK(cabochon_session_truncate(session, 4, NULL) == CABOCHON_OK, "truncate");
    return session;
}

/* A steered answer that ends in a failure leaves nothing steered behind: not the length, not the next
 * logits, not what later tokens see of the earlier ones. */
static void steered_in_vain(const char *folder) {
    cabochon_sae *sae = load_sae(folder);
    const cabochon_steer steers[] = {{.sae = sae, .feature = 3, .strength = 50},
                                     {.sae = sae, .feature = 1u << 30, .strength = 50}};
    cabochon_interventions edits;
    cabochon_interventions_init(&edits, sizeof edits);
    edits.steer = steers;
    cabochon_generation_options options = greedy(8);
    options.interventions = &edits;
    int32_t prompt[] = {7, 9, 11};
    for (int i = 0; i < 12; i++) {
        enum beginning beginning = i / 4;
        size_t count = i % 4 < 2 ? 0 : 3;
        cabochon_session *untouched = begin(beginning), *session = begin(beginning), *copy = NULL;
        size_t length = cabochon_session_length(session);
        struct listener cancels = {.cancels = session, .cancel_after = i % 2 == 0 ? 1 : 3};
        edits.steer_count = 1;
        FAILS(CABOCHON_ERROR_CANCELLED,
              cabochon_session_generate(session, prompt, count, &options, listen, &cancels, NULL, &error));
        CHECK(cancels.calls == cancels.cancel_after, "case %d: %zu tokens", i, cancels.calls);
        edits.steer_count = 2;
        FAILS(CABOCHON_ERROR_INVALID_ARGUMENT,
              cabochon_session_generate(session, prompt, count, &options, NULL, NULL, NULL, &error));
        CHECK(cabochon_session_length(session) == length, "case %d: %zu", i, cabochon_session_length(session));
        CHECK(cabochon_session_fork(session, &copy, NULL) == CABOCHON_OK, "fork");
        CHECK(same_logits(copy, untouched), "case %d: the next logits", i);
        CHECK(cabochon_session_append(session, prompt, 1, NULL) == CABOCHON_OK, "append");
        CHECK(cabochon_session_append(untouched, prompt, 1, NULL) == CABOCHON_OK, "append");
        CHECK(same_logits(session, untouched), "case %d: the logits after one token more", i);
        cabochon_session_free(session);
        cabochon_session_free(untouched);
        cabochon_session_free(copy);
    }
    /* Steered to its end, the answer to the same tokens is another. */
    cabochon_session *plain = begin(APPENDED), *steered = begin(APPENDED);
    edits.steer_count = 1;
    CHECK(cabochon_session_generate(steered, prompt, 3, &options, NULL, NULL, NULL, NULL) == CABOCHON_OK, "steered");
    options.interventions = NULL;
    CHECK(cabochon_session_generate(plain, prompt, 3, &options, NULL, NULL, NULL, NULL) == CABOCHON_OK, "plain");
    CHECK(!same_logits(plain, steered), "the steer steers");
    cabochon_session_free(plain);
    cabochon_session_free(steered);
    cabochon_sae_free(sae);
}

static void sampling(void) {
    int32_t prompt[64];
    size_t count = tokenize("Once upon a time", prompt, 64), tokens = 0;
    cabochon_generation_options options = greedy(16);
    options.sampling = CABOCHON_SAMPLING_RANDOM;
    options.temperature = 3;
    options.flags |= CABOCHON_GENERATE_SEEDED;
    int32_t answers[3][16];
    for (int run = 0; run < 3; run++) {
        cabochon_session *session = new_session();
        cabochon_generation *one = NULL;
        options.seed = run == 2 ? 1 : 0;
        CHECK(cabochon_session_generate(session, prompt, count, &options, NULL, NULL, &one, NULL) == CABOCHON_OK, "");
        const int32_t *ids = cabochon_generation_tokens(one, &tokens);
        CHECK(tokens == 16, "%zu", tokens);
        if (tokens == 16) memcpy(answers[run], ids, sizeof answers[run]);
        cabochon_generation_free(one);
        cabochon_session_free(session);
    }
    CHECK(memcmp(answers[0], answers[1], sizeof answers[0]) == 0, "seed 0 twice");
    CHECK(memcmp(answers[0], answers[2], sizeof answers[0]) != 0, "seeds 0 and 1");

    /* A bias that forbids all but one token leaves that one. */
    cabochon_logit_bias bias = {77, 1e9f};
    options = greedy(3);
    options.logit_bias = &bias;
    options.logit_bias_count = 1;
    options.logprobs = 2;
    cabochon_session *session = new_session();
    cabochon_generation *one = NULL;
    CHECK(cabochon_session_generate(session, prompt, count, &options, NULL, NULL, &one, NULL) == CABOCHON_OK, "");
    const int32_t *ids = cabochon_generation_tokens(one, &tokens);
    CHECK(tokens == 3 && ids[0] == 77 && ids[2] == 77, "%d", ids ? ids[0] : -1);
    const float *logprobs = cabochon_generation_logprobs(one, &tokens);
    CHECK(tokens == 3 && logprobs[0] <= 0 && logprobs[0] > -1e-3f, "%f", tokens ? logprobs[0] : 9.0f);
    cabochon_generation_free(one);
    cabochon_session_free(session);

    /* Two tokens far above all others have half of the probability each, however far. */
    const float far[] = {1e10f, 1e20f, 3e38f};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        cabochon_logit_bias two[] = {{5, far[i]}, {6, far[i]}};
        options = greedy(1);
        options.logit_bias = two;
        options.logit_bias_count = 2;
        options.logprobs = 2;
        session = new_session();
        CHECK(cabochon_session_generate(session, prompt, count, &options, NULL, NULL, &one, NULL) == CABOCHON_OK, "");
        logprobs = cabochon_generation_logprobs(one, &tokens);
        CHECK(tokens == 1 && fabsf(logprobs[0] + 0.693147f) < 1e-5f, "%g: %g", far[i], tokens ? logprobs[0] : 9.0f);
        cabochon_generation_free(one);
        cabochon_session_free(session);
    }
}

static void sessions(void) {
    int32_t ids[] = {2, 50, 60, 70, 80, 90};
    cabochon_session *session = new_session(), *copy = NULL, *restored = NULL;
    cabochon_error *error = NULL;
    CHECK(cabochon_session_append(session, ids, 4, NULL) == CABOCHON_OK, "append");
    CHECK(cabochon_session_fork(session, &copy, NULL) == CABOCHON_OK, "fork");
    CHECK(cabochon_session_append(copy, ids + 4, 2, NULL) == CABOCHON_OK, "append to the copy");
    CHECK(cabochon_session_length(session) == 4 && cabochon_session_length(copy) == 6, "each goes its own way");
    int32_t wrong[] = {5, -1};
    FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_session_append(session, wrong, 2, &error));
    CHECK(cabochon_session_length(session) == 4, "all or nothing, not %zu", cabochon_session_length(session));
    FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_session_truncate(session, 5, &error));

    char path[] = "/tmp/cabochon-contract-XXXXXX";
    int descriptor = mkstemp(path);
    close(descriptor);
    CHECK(cabochon_session_save(copy, path, NULL) == CABOCHON_OK, "save");
    CHECK(cabochon_session_restore(model, path, &restored, NULL) == CABOCHON_OK, "restore");
    int32_t held[8];
    size_t count = 8;
    CHECK(cabochon_session_tokens(restored, held, &count, NULL) == CABOCHON_OK && count == 6, "%zu", count);
    CHECK(memcmp(held, ids, sizeof ids) == 0, "the same tokens");
    CHECK(cabochon_session_truncate(restored, 4, NULL) == CABOCHON_OK, "truncate");
    CHECK(same_logits(session, restored), "restored and truncated gives the bits of the original");
    if (truncate(path, 100) == 0) {
        cabochon_session *none = session;
        FAILS(CABOCHON_ERROR_INVALID_FILE, cabochon_session_restore(model, path, &none, &error));
        CHECK(none == NULL, "no handle after a failure");
    }
    unlink(path);

    cabochon_session_options small;
    cabochon_session_options_init(&small, sizeof small);
    small.context_length = 5;
    cabochon_session *tight = NULL;
    CHECK(cabochon_session_create(model, &small, &tight, NULL) == CABOCHON_OK, "a context of 5");
    CHECK(cabochon_session_append(tight, ids, 6, &error) == CABOCHON_ERROR_CONTEXT_EXCEEDED, "6 tokens");
    const char *message = cabochon_error_message(error, NULL);
    CHECK(strchr(message, '6') && strchr(message, '5'), "both numbers: %s", message);
    cabochon_error_free(error);
    cabochon_session_free(session);
    cabochon_session_free(copy);
    cabochon_session_free(restored);
    cabochon_session_free(tight);
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : MODEL;
    versions_and_statuses();
    if (!open_model(path)) return 1;
    ownership(path);
    log_callback(path);
    many_handles();
    no_handle_left();
    copied_file(path);
    two_calls();
    options_grow();
    generation();
    steered_in_vain(path);
    sampling();
    sessions();
    close_model();
    return finish();
}
