/* fork.c - what cabochon.h promises a process that forks, and its children.
 * Usage: fork [MODEL] */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

/* In a child of fork(), after the engine has computed here: a status, and an engine of its own. */
static void forked_process(const char *path) {
    cabochon_session *session = new_session();
    int32_t ids[] = {2, 5, 7};
    cabochon_session_append(session, ids, 3, NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        cabochon_engine *own = NULL;
        cabochon_model *one = NULL;
        if (cabochon_session_append(session, ids, 1, NULL) != CABOCHON_ERROR_FORKED) _exit(1);
        if (cabochon_model_load(engine, path, NULL, &one, NULL) != CABOCHON_ERROR_FORKED) _exit(2);
        cabochon_session_free(session);
        cabochon_model_free(model);
        cabochon_engine_free(engine);
        if (cabochon_engine_create(NULL, &own, NULL) != CABOCHON_OK) _exit(3);
        if (cabochon_model_load(own, path, NULL, &one, NULL) != CABOCHON_OK) _exit(4);
        if (cabochon_session_create(one, NULL, &session, NULL) != CABOCHON_OK) _exit(5);
        if (cabochon_session_append(session, ids, 3, NULL) != CABOCHON_OK) _exit(6);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x", status);
    CHECK(cabochon_session_append(session, ids, 1, NULL) == CABOCHON_OK, "the parent goes on");
    cabochon_session_free(session);
}

static int can_compute(cabochon_model *one) {
    int32_t ids[] = {2, 50, 60};
    size_t length = 3 * (size_t)cabochon_model_vocab_size(one);
    float *logits = malloc(length * sizeof *logits);
    cabochon_status status = cabochon_model_logits(one, ids, 3, logits, &length, NULL);
    free(logits);
    return status == CABOCHON_OK;
}

/* A child may begin anew before it frees what it inherited: its own threads have the names that the parent's had. */
static void child_frees_last(const char *path) {
    cabochon_engine_options options;
    cabochon_engine_options_init(&options, sizeof options);
    options.threads = 2;
    cabochon_engine *inherited = NULL;
    cabochon_model *one = NULL;
    CHECK(cabochon_engine_create(&options, &inherited, NULL) == CABOCHON_OK, "an engine");
    CHECK(cabochon_model_load(inherited, path, NULL, &one, NULL) == CABOCHON_OK && can_compute(one), "a model");
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        cabochon_engine *own = NULL;
        cabochon_model *another = NULL;
        if (cabochon_engine_create(&options, &own, NULL) != CABOCHON_OK) _exit(1);
        if (cabochon_model_load(own, path, NULL, &another, NULL) != CABOCHON_OK || !can_compute(another)) _exit(2);
        cabochon_model_free(one);
        cabochon_engine_free(inherited);
        if (!can_compute(another)) _exit(3);
        cabochon_model_free(another);
        cabochon_engine_free(own);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x", status);
    cabochon_model_free(one);
    cabochon_engine_free(inherited);
}

/* What compute nothing, but list FORKED. */
static void forked_statuses(const char *folder) {
    cabochon_sae *sae = load_sae(folder);
    cabochon_session *session = new_session();
    int32_t ids[] = {2, 5, 7};
    CHECK(cabochon_session_append(session, ids, 3, NULL) == CABOCHON_OK, "append");
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        size_t length = 0;
        if (cabochon_session_truncate(session, 1, NULL) != CABOCHON_ERROR_FORKED) _exit(1);
        if (cabochon_session_save(session, "/nowhere/at/all", NULL) != CABOCHON_ERROR_FORKED) _exit(2);
        if (cabochon_sae_direction(sae, 1, NULL, &length, NULL) != CABOCHON_ERROR_FORKED) _exit(3);
        if (cabochon_model_logits(model, ids, 3, NULL, &length, NULL) != CABOCHON_ERROR_FORKED) _exit(4);
        if (cabochon_session_tokens(session, NULL, &length, NULL) != CABOCHON_OK || length != 3) _exit(5);
        if (cabochon_model_tokenize(model, "hello", 5, 0, NULL, &length, NULL) != CABOCHON_OK) _exit(6);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x", status);
    cabochon_session_free(session);
    cabochon_sae_free(sae);
}

static void *make_handles(void *argument) {
    int32_t id = 1;
    while (!atomic_load((atomic_bool *)argument)) {
        cabochon_error *error = NULL;
        cabochon_session_append(NULL, &id, 1, &error);
        cabochon_error_free(error);
        /* Not a check: there would be another number of them each time. */
        cabochon_session *session = NULL;
        cabochon_session_create(model, NULL, &session, NULL);
        cabochon_session_free(session);
    }
    return NULL;
}

typedef struct cancelling {
    cabochon_session *session;
    atomic_bool stops;
} cancelling;

static void *cancel_all_the_time(void *argument) {
    cancelling *self = argument;
    while (!atomic_load(&self->stops)) cabochon_session_cancel(self->session);
    return NULL;
}

/* A fork() at any moment of other threads' calls and cancels: the child can free what it has and make an engine. */
static void fork_beside_calls(void) {
    pthread_t threads[2];
    cabochon_session *session = new_session();
    cancelling cancelling = {.session = session};
    pthread_create(&threads[0], NULL, make_handles, &cancelling.stops);
    pthread_create(&threads[1], NULL, cancel_all_the_time, &cancelling);
    for (int i = 0; i < 300; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            cabochon_engine *own = NULL;
            cabochon_session_free(session);
            cabochon_model_free(model);
            cabochon_engine_free(engine);
            _exit(cabochon_engine_create(NULL, &own, NULL) == CABOCHON_OK ? 0 : 3);
        }
        int status = 0;
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with 0x%x", i, status);
    }
    atomic_store(&cancelling.stops, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    cabochon_session_free(session);
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : MODEL;
    if (!open_model(path)) return 1;
    forked_process(path);
    child_frees_last(path);
    forked_statuses(path);
    fork_beside_calls();
    close_model();
    return finish();
}
