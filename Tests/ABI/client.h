/* client.h - what the programs share that test the ABI with a model of their own at hand: the engine and
 * the model, sessions and options of the plain kind, and calls that are to fail. */
#ifndef CLIENT_H
#define CLIENT_H

#include <cabochon/cabochon.h>
#include <string.h>

#include "check.h"

static cabochon_engine *engine;
static cabochon_model *model;

/* Fills `engine` and `model`; says why not and gives false where that fails. */
static inline int open_model(const char *path) {
    cabochon_error *error = NULL;
    if (cabochon_engine_create(NULL, &engine, &error) == CABOCHON_OK &&
        cabochon_model_load(engine, path, NULL, &model, &error) == CABOCHON_OK)
        return 1;
    fprintf(stderr, "%s: %s\n", path, cabochon_error_message(error, NULL));
    return 0;
}

static inline void close_model(void) {
    cabochon_model_free(model);
    cabochon_engine_free(engine);
}

static inline cabochon_session *new_session(void) {
    cabochon_session *session = NULL;
    CHECK(cabochon_session_create(model, NULL, &session, NULL) == CABOCHON_OK, "no session");
    return session;
}

/* The dictionary of layer 2's residual stream in the model's folder, owned by the caller. */
static inline cabochon_sae *load_sae(const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/expected/scope/resid_post_layer2.npz", folder);
    cabochon_sae_options options;
    cabochon_sae_options_init(&options, sizeof options);
    options.site = "resid_post";
    options.flags = CABOCHON_SAE_LAYER;
    options.layer = 2;
    cabochon_sae *sae = NULL;
    CHECK(cabochon_sae_load(engine, path, &options, &sae, NULL) == CABOCHON_OK, "no SAE");
    return sae;
}

static inline cabochon_generation_options greedy(uint32_t max_tokens) {
    cabochon_generation_options options;
    cabochon_generation_options_init(&options, sizeof options);
    options.sampling = CABOCHON_SAMPLING_GREEDY;
    options.flags = CABOCHON_GENERATE_IGNORE_EOS;
    options.max_tokens = max_tokens;
    return options;
}

static inline void check_failure(int line, cabochon_status expected, cabochon_status status, cabochon_error *error) {
    size_t length = 0;
    const char *message = cabochon_error_message(error, &length);
    CHECK(status == expected && cabochon_error_code(error) == expected, "line %d: status %d, %s", line, (int)status,
          message);
    CHECK(length > 0 && strlen(message) == length, "line %d: a message", line);
    size_t visible = 0;
    while (visible < length && (unsigned char)message[visible] >= ' ') visible++;
    CHECK(visible == length, "line %d: one line, not %s", line, message);
    cabochon_error_free(error);
}

/* The call, which stores into `error`, fails with this status, and an error object that agrees. */
#define FAILS(expected, call)                                                                                          \
    do {                                                                                                               \
        cabochon_error *error = NULL;                                                                                  \
        cabochon_status status = (call);                                                                               \
        check_failure(__LINE__, expected, status, error);                                                              \
    } while (0)

#endif
