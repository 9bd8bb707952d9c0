/* stream.c - streams an answer, swaps the backend in the middle of it, and goes on without losing a token.
 *
 *     cc stream.c $(pkg-config --cflags --libs cabochon) -o stream && ./stream model.gguf "Why is the sky blue?"
 */
#include <cabochon/cabochon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with the error's message where a call has failed. Takes the error's place, which the call fills:
 * arguments are evaluated in any order. */
static void check(cabochon_status status, cabochon_error **error) {
    if (status == CABOCHON_OK) return;
    fprintf(stderr, "stream: %s\n", cabochon_error_message(*error, NULL));
    exit(1);
}

struct answer {
    cabochon_model *model;
    const char *next_backend;
    int tokens, swap_after;
};

/* Called for each token, with the whole characters that it completes. */
static int32_t print_token(void *user_data, const cabochon_token *token) {
    struct answer *answer = user_data;
    cabochon_error *error = NULL;
    fwrite(token->text, 1, token->text_len, stdout);
    fflush(stdout);
    if (++answer->tokens == answer->swap_after) {
        check(cabochon_model_set_backend(answer->model, answer->next_backend, &error), &error);
        printf("[now on %s]", answer->next_backend);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: stream MODEL QUESTION [BACKEND]\n"), 2;
    cabochon_engine *engine = NULL;
    cabochon_model *model = NULL;
    cabochon_session *session = NULL;
    cabochon_generation *generation = NULL;
    cabochon_error *error = NULL;
    check(cabochon_engine_create(NULL, &engine, &error), &error);
    check(cabochon_model_load(engine, argv[1], NULL, &model, &error), &error);
    check(cabochon_session_create(model, NULL, &session, &error), &error);

    /* The question in the model's chat format: once for the number of tokens, once for the tokens. */
    cabochon_message question = {"user", 4, argv[2], strlen(argv[2])};
    uint32_t flags = CABOCHON_CHAT_ADD_GENERATION_PROMPT;
    size_t count = 0;
    check(cabochon_model_render_chat(model, &question, 1, flags, NULL, &count, &error), &error);
    int32_t *prompt = malloc(count * sizeof *prompt);
    if (prompt == NULL) return 1;
    check(cabochon_model_render_chat(model, &question, 1, flags, prompt, &count, &error), &error);

    /* Backends come best first; "scalar", the last, is always there. */
    struct answer answer = {model, argc > 3 ? argv[3] : "scalar", 0, 16};
    cabochon_generation_options options;
    cabochon_generation_options_init(&options, sizeof options);
    options.max_tokens = 64;
    options.sampling = CABOCHON_SAMPLING_GREEDY;
    check(cabochon_session_generate(session, prompt, count, &options, print_token, &answer, &generation, &error),
          &error);

    cabochon_generation_summary summary = {.struct_size = sizeof summary};
    check(cabochon_generation_get_summary(generation, &summary, &error), &error);
    printf("\n%u tokens, %zu in the session\n", summary.decode_tokens, cabochon_session_length(session));
    free(prompt);
    cabochon_generation_free(generation);
    cabochon_session_free(session);
    cabochon_model_free(model);
    cabochon_engine_free(engine);
    return 0;
}
