/* failures.c - what a call that fails leaves behind: out-handles that are NULL, lengths and buffers as they
 * were, and one line that says what was wrong, whatever bytes a name is made of.
 * Usage: failures [MODEL] */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"

/* Whatever is wrong with a call that gives several handles, none of them looks like one afterwards. */
static void every_out_handle_is_null(const cabochon_sae *sae) {
    const int32_t ids[] = {2, 5, 7}, bad[] = {2, 99999};
    const cabochon_sae *both[] = {sae, sae}, *one_is_null[] = {sae, NULL};
    for (int i = 0; i < 6; i++) {
        cabochon_features *given[2] = {(cabochon_features *)model, (cabochon_features *)model};
        if (i == 0)
            FAILS(CABOCHON_ERROR_INVALID_HANDLE, cabochon_model_features(model, ids, 3, one_is_null, 2, given, &error));
        if (i == 1)
            FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_features(model, ids, 3, NULL, 2, given, &error));
        if (i == 2) FAILS(CABOCHON_ERROR_INVALID_HANDLE, cabochon_model_features(NULL, ids, 3, both, 2, given, &error));
        if (i == 3)
            FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_features(model, ids, 0, both, 2, given, &error));
        if (i == 4)
            FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_features(model, bad, 2, both, 2, given, &error));
        if (i == 5) {
            cabochon_model_cancel(model);
            FAILS(CABOCHON_ERROR_CANCELLED, cabochon_model_features(model, ids, 3, both, 2, given, &error));
        }
        CHECK(given[0] == NULL && given[1] == NULL, "case %d", i);
    }
    cabochon_features *one = (cabochon_features *)model;
    FAILS(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_features(model, ids, 3, both, SIZE_MAX, &one, &error));
}

/* A length is written by a call that succeeds or finds the buffer too small, and by no other. */
static void lengths_stay(const cabochon_sae *sae) {
    enum { ROOM = 100000 };
    const int32_t ids[] = {2, 5, 7}, bad[] = {2, 99999};
    float *floats = malloc(ROOM * sizeof *floats);
    floats[0] = 42;
    cabochon_verdict verdict = {.score = 42};
    cabochon_session *session = new_session();
    cabochon_guard *guard = NULL;
    CHECK(cabochon_guard_create(model, NULL, &guard, NULL) == CABOCHON_OK, "a guard");
    const cabochon_steer steer = {.sae = sae, .feature = 1, .strength = NAN};
    cabochon_interventions edits;
    cabochon_interventions_init(&edits, sizeof edits);
    edits.steer = &steer;
    edits.steer_count = 1;
    const cabochon_guard_policy policy = {{"harassment", 10}, {NULL, 0}}, twice[] = {policy, policy};
    const size_t offsets[] = {0, 1};
    const uint32_t index = 3;
    const float value = 1;
    cabochon_features *narrow = NULL;
    CHECK(cabochon_features_create(4, 1, offsets, &index, &value, &narrow, NULL) == CABOCHON_OK, "features");
    char *long_text = malloc(ROOM);
    memset(long_text, 'a', ROOM);
#define LEAVES(expected, call)                                                                                         \
    do {                                                                                                               \
        size_t length = ROOM;                                                                                          \
        FAILS(expected, call);                                                                                         \
        CHECK(length == ROOM, "%s: %zu", #call, length);                                                               \
    } while (0)
    LEAVES(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_logits(model, bad, 2, floats, &length, &error));
    cabochon_model_cancel(model);
    LEAVES(CABOCHON_ERROR_CANCELLED, cabochon_model_logits(model, ids, 3, floats, &length, &error));
    LEAVES(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_model_logits_with(model, ids, 3, &edits, floats, &length, &error));
    LEAVES(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_session_logits(session, floats, &length, &error));
    CHECK(cabochon_session_append(session, ids, 3, NULL) == CABOCHON_OK, "append");
    CHECK(cabochon_session_truncate(session, 2, NULL) == CABOCHON_OK, "truncate");
    cabochon_session_cancel(session);
    LEAVES(CABOCHON_ERROR_CANCELLED, cabochon_session_logits(session, floats, &length, &error));
    LEAVES(CABOCHON_ERROR_INVALID_ARGUMENT,
           cabochon_guard_classify(guard, "x", 1, NULL, 0, twice, 2, &verdict, &length, &error));
    LEAVES(CABOCHON_ERROR_INVALID_UTF8,
           cabochon_guard_classify(guard, "\xff", 1, NULL, 0, &policy, 1, &verdict, &length, &error));
    LEAVES(CABOCHON_ERROR_CONTEXT_EXCEEDED,
           cabochon_guard_classify(guard, long_text, ROOM, NULL, 0, &policy, 1, &verdict, &length, &error));
    cabochon_guard_cancel(guard);
    LEAVES(CABOCHON_ERROR_CANCELLED,
           cabochon_guard_classify(guard, "x", 1, NULL, 0, &policy, 1, &verdict, &length, &error));
    LEAVES(CABOCHON_ERROR_INVALID_ARGUMENT, cabochon_sae_decode(sae, narrow, NULL, floats, &length, &error));
    CHECK(floats[0] == 42 && verdict.score == 42, "buffers as they were");
    size_t length = 1;
    FAILS(CABOCHON_ERROR_BUFFER_TOO_SMALL, cabochon_model_logits(model, ids, 3, floats, &length, &error));
    CHECK(length == 3 * (size_t)cabochon_model_vocab_size(model), "the needed number, %zu", length);
    free(long_text);
    free(floats);
    cabochon_features_free(narrow);
    cabochon_guard_free(guard);
    cabochon_session_free(session);
}

/* The call fails with a message in which this stands. */
#define SAYS(expected, words, call)                                                                                    \
    do {                                                                                                               \
        cabochon_error *error = NULL;                                                                                  \
        cabochon_status status = (call);                                                                               \
        CHECK(strstr(cabochon_error_message(error, NULL), words) != NULL, "%s", cabochon_error_message(error, NULL));  \
        check_failure(__LINE__, expected, status, error);                                                              \
    } while (0)

static void note_line(void *several, uint32_t level, const char *message, size_t length) {
    (void)level;
    *(int *)several += memchr(message, '\n', length) != NULL || strstr(message, "od\\nd") == NULL;
}

/* Nobody who chooses a name adds a line to a log, or cuts one (check_failure looks at each message). */
static void names_stay_on_the_line(const char *path) {
    size_t length = 0;
    const cabochon_message role = {"us\0er\x1b", 6, "x", 1};
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "us\\0er\\x1b",
         cabochon_model_render_chat(model, &role, 1, 0, NULL, &length, &error));
    SAYS(CABOCHON_ERROR_BACKEND, "\"a\\nb\"", cabochon_model_set_backend(model, "a\nb", &error));
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "0.a\\r\\n\\tb",
         cabochon_model_site_width(model, "0.a\r\n\tb", &length, &error));
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "0.a\\u2028\\x85",
         cabochon_model_site_width(model, "0.a\xe2\x80\xa8\xc2\x85", &length, &error));
    cabochon_model *none = NULL;
    SAYS(CABOCHON_ERROR_IO, "/no\\nwhere", cabochon_model_load(engine, "/no\nwhere", NULL, &none, &error));

    char folder[] = "/tmp/cabochon-failures-XXXXXX", link[100], target[4096];
    CHECK(mkdtemp(folder) && realpath(path, target), "a folder");
    snprintf(link, sizeof link, "%s/od\nd", folder);
    CHECK(symlink(target, link) == 0, "a link");
    int several = 0;
    cabochon_engine_options options;
    cabochon_engine *talkative = NULL;
    cabochon_engine_options_init(&options, sizeof options);
    options.plugins = CABOCHON_PLUGINS_NONE;
    options.log = note_line;
    options.log_user_data = &several;
    CHECK(cabochon_engine_create(&options, &talkative, NULL) == CABOCHON_OK, "no engine");
    CHECK(cabochon_model_load(talkative, link, NULL, &none, NULL) == CABOCHON_OK, "a model at an odd path");
    CHECK(several == 0, "%d log lines", several);
    cabochon_model_free(none);
    cabochon_engine_free(talkative);
    unlink(link);
    rmdir(folder);
}

/* A message names what was wrong: the argument, the number as the caller wrote it, the place. */
static void messages_name_what_and_where(void) {
    const int32_t ids[] = {2, 5, 7};
    double score = 0, nan = NAN;
    size_t length = 0;
    cabochon_guard *guard = NULL, *none = NULL;
    CHECK(cabochon_guard_create(model, NULL, &guard, NULL) == CABOCHON_OK, "a guard");
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "at least one", cabochon_guard_score(guard, ids, 0, &score, &error));
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "ids: length 18446744073709551615, at most 2147483647",
         cabochon_guard_score(guard, ids, SIZE_MAX, &score, &error));
    const cabochon_message endless = {"user", 4, "x", SIZE_MAX};
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "content: length 18446744073709551615",
         cabochon_model_render_chat(model, &endless, 1, 0, NULL, &length, &error));
    SAYS(CABOCHON_ERROR_INVALID_UTF8, "prompt is not UTF-8 at byte 2 of 4",
         cabochon_guard_classify(guard, "ab\xff!", 4, NULL, 0, NULL, 0, &(cabochon_verdict){0}, &(size_t){4}, &error));
    SAYS(CABOCHON_ERROR_INVALID_UTF8, "name is not UTF-8 at byte 1 of 2",
         cabochon_model_set_backend(model, "a\xff", &error));
    cabochon_model *no_model = NULL;
    SAYS(CABOCHON_ERROR_IO, "path is empty", cabochon_model_load(engine, "", NULL, &no_model, &error));
    cabochon_guard_options options;
    cabochon_guard_options_init(&options, sizeof options);
    options.template_name = "mine";
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "custom", cabochon_guard_create(model, &options, &none, &error));

    cabochon_session *session = new_session();
    cabochon_guarding_options guarding;
    cabochon_guarding_options_init(&guarding, sizeof guarding);
    guarding.thresholds = &nan;
    guarding.threshold_count = 1;
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "not a number",
         cabochon_guard_generate(guard, session, ids, 3, "hi", 2, NULL, &guarding, NULL, NULL, NULL, &error));
    cabochon_session_free(session);
    cabochon_guard_free(guard);

    const size_t offsets[] = {0, 2};
    const uint32_t indices[] = {3, 3};
    const float values[] = {1, 1};
    cabochon_features *features = NULL;
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "row 0: feature 3 of 0",
         cabochon_features_create(0, 1, offsets, indices, values, &features, &error));
    SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "row 0: feature 3 after feature 3",
         cabochon_features_create(9, 1, offsets, indices, values, &features, &error));
}

/* "" is no backend's name; in the environment it is as if there were none. */
static void empty_backend_names(const char *path) {
    cabochon_model_options options;
    cabochon_model_options_init(&options, sizeof options);
    options.backend = "";
    cabochon_model *one = NULL;
    SAYS(CABOCHON_ERROR_BACKEND, "no backend \"\"", cabochon_model_load(engine, path, &options, &one, &error));
    SAYS(CABOCHON_ERROR_BACKEND, "scalar", cabochon_model_set_backend(model, "", &error));
    setenv("CABOCHON_BACKEND", "", 1);
    CHECK(cabochon_model_load(engine, path, NULL, &one, NULL) == CABOCHON_OK, "CABOCHON_BACKEND=");
    unsetenv("CABOCHON_BACKEND");
    cabochon_model_free(one);
}

/* Options that leave nothing to choose by are the caller's mistake, not the weights'. */
static void options_that_leave_no_token(void) {
    const int32_t prompt[] = {2, 50, 60};
    const int32_t count = (int32_t)cabochon_model_vocab_size(model);
    cabochon_logit_bias *biases = malloc((size_t)count * sizeof *biases);
    for (int i = 0; i < 4; i++) {
        for (int32_t token = 0; token < count; token++)
            biases[token] = (cabochon_logit_bias){token, i == 0 || token != 77 ? -INFINITY : 0};
        cabochon_generation_options options = greedy(3);
        options.logit_bias = biases;
        options.logit_bias_count = (size_t)count;
        if (i == 1) options.presence_penalty = options.frequency_penalty = 3e38f;
        if (i == 2) {
            biases[0] = biases[1] = (cabochon_logit_bias){5, 3e38f};
            options.logit_bias_count = 2;
        }
        if (i == 3) {
            options.repetition_penalty = 1e-45f;
            biases[0] = (cabochon_logit_bias){60, 1000};
            options.logit_bias_count = 1;
        }
        cabochon_session *session = new_session();
        SAYS(CABOCHON_ERROR_INVALID_ARGUMENT, "logit bias and penalties",
             cabochon_session_generate(session, prompt, 3, &options, NULL, NULL, NULL, &error));
        CHECK(cabochon_session_length(session) == 0, "case %d", i);
        cabochon_session_free(session);
    }
    free(biases);
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : MODEL;
    if (!open_model(path)) return 1;
    cabochon_sae *sae = load_sae(path);
    every_out_handle_is_null(sae);
    lengths_stay(sae);
    names_stay_on_the_line(path);
    messages_name_what_and_where();
    empty_backend_names(path);
    options_that_leave_no_token();
    cabochon_sae_free(sae);
    close_model();
    return finish();
}
