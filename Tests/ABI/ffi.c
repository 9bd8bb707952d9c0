/* ffi.c - the library as another language sees it: through libffi, knowing nothing but a table of
 * names and signatures. It does not include cabochon.h. If a plain dynamic call with these scalar
 * and pointer types works for every function, so does the FFI of any language.
 * Usage: ffi [LIBRARY MODEL] */
#include <dlfcn.h>
#include <ffi.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* Letters: p pointer, z size_t, u uint32, i int32, v nothing. The first is what comes back. */
static const struct {
    const char *name, *signature;
} functions[] = {
    {"cabochon_abi_version", "u"},
    {"cabochon_version", "p"},
    {"cabochon_error_code", "ip"},
    {"cabochon_error_message", "ppp"},
    {"cabochon_status_name", "pi"},
    {"cabochon_error_retain", "pp"},
    {"cabochon_error_free", "vp"},
    {"cabochon_engine_options_init", "vpz"},
    {"cabochon_engine_create", "ippp"},
    {"cabochon_engine_retain", "pp"},
    {"cabochon_engine_free", "vp"},
    {"cabochon_engine_backend_count", "zp"},
    {"cabochon_engine_backend_name", "ppz"},
    {"cabochon_engine_thread_count", "up"},
    {"cabochon_engine_describe", "ipppp"},
    {"cabochon_model_options_init", "vpz"},
    {"cabochon_model_load", "ippppp"},
    {"cabochon_model_retain", "pp"},
    {"cabochon_model_free", "vp"},
    {"cabochon_model_architecture", "pp"},
    {"cabochon_model_vocab_size", "up"},
    {"cabochon_model_hidden_size", "up"},
    {"cabochon_model_layer_count", "up"},
    {"cabochon_model_context_length", "up"},
    {"cabochon_model_bos_id", "ip"},
    {"cabochon_model_eos_ids", "ipppp"},
    {"cabochon_model_describe", "ipppp"},
    {"cabochon_model_backend", "ipppp"},
    {"cabochon_model_set_backend", "ippp"},
    {"cabochon_model_tokenize", "ippzuppp"},
    {"cabochon_model_detokenize", "ippzppp"},
    {"cabochon_model_token_piece", "ipippp"},
    {"cabochon_model_apply_chat_template", "ippzuppp"},
    {"cabochon_model_render_chat", "ippzuppp"},
    {"cabochon_model_render_turn", "ippzuppp"},
    {"cabochon_model_logits", "ippzppp"},
    {"cabochon_model_site_width", "ipppp"},
    {"cabochon_model_activations", "ippzpzppp"},
    {"cabochon_model_cancel", "vp"},
    {"cabochon_session_options_init", "vpz"},
    {"cabochon_session_create", "ipppp"},
    {"cabochon_session_retain", "pp"},
    {"cabochon_session_free", "vp"},
    {"cabochon_session_length", "zp"},
    {"cabochon_session_context_length", "zp"},
    {"cabochon_session_tokens", "ipppp"},
    {"cabochon_session_append", "ippzp"},
    {"cabochon_session_logits", "ipppp"},
    {"cabochon_session_truncate", "ipzp"},
    {"cabochon_session_fork", "ippp"},
    {"cabochon_session_save", "ippp"},
    {"cabochon_session_restore", "ipppp"},
    {"cabochon_session_cancel", "vp"},
    {"cabochon_generation_options_init", "vpz"},
    {"cabochon_session_generate", "ippzppppp"},
    {"cabochon_generation_text", "ppp"},
    {"cabochon_generation_tokens", "ppp"},
    {"cabochon_generation_logprobs", "ppp"},
    {"cabochon_generation_get_summary", "ippp"},
    {"cabochon_generation_retain", "pp"},
    {"cabochon_generation_free", "vp"},
    {"cabochon_sae_options_init", "vpz"},
    {"cabochon_sae_load", "ippppp"},
    {"cabochon_sae_only", "ippzpp"},
    {"cabochon_sae_retain", "pp"},
    {"cabochon_sae_free", "vp"},
    {"cabochon_sae_width", "up"},
    {"cabochon_sae_input_size", "up"},
    {"cabochon_sae_output_size", "up"},
    {"cabochon_sae_layer", "up"},
    {"cabochon_sae_average_l0", "up"},
    {"cabochon_sae_site", "pp"},
    {"cabochon_sae_kind", "pp"},
    {"cabochon_sae_direction", "ipuppp"},
    {"cabochon_features_create", "izzppppp"},
    {"cabochon_features_retain", "pp"},
    {"cabochon_features_free", "vp"},
    {"cabochon_features_width", "zp"},
    {"cabochon_features_row_count", "zp"},
    {"cabochon_features_offsets", "ppp"},
    {"cabochon_features_indices", "ppp"},
    {"cabochon_features_values", "ppp"},
    {"cabochon_features_excluded", "ppp"},
    {"cabochon_sae_encode", "ippzpp"},
    {"cabochon_sae_decode", "ipppppp"},
    {"cabochon_model_features", "ippzpzpp"},
    {"cabochon_interventions_init", "vpz"},
    {"cabochon_model_logits_with", "ippzpppp"},
    {"cabochon_guard_options_init", "vpz"},
    {"cabochon_guard_create", "ipppp"},
    {"cabochon_guard_retain", "pp"},
    {"cabochon_guard_free", "vp"},
    {"cabochon_guard_policy_count", "zp"},
    {"cabochon_guard_policy_name", "ppz"},
    {"cabochon_guard_policy_text", "ppz"},
    {"cabochon_guard_classify", "ippzpzpzppp"},
    {"cabochon_guard_classify_rows", "ippzpzppp"},
    {"cabochon_guard_render", "ippzpzpppp"},
    {"cabochon_guard_score", "ippzpp"},
    {"cabochon_guard_cancel", "vp"},
    {"cabochon_guarding_options_init", "vpz"},
    {"cabochon_guard_generate", "ipppzpzpppppp"},
    {"cabochon_generation_filter_policy", "pp"},
};
static const size_t function_count = sizeof functions / sizeof *functions;

static void *library;

/* A value on its way in or out: pointers and sizes, or 32-bit numbers. */
static uint64_t p(const void *pointer) { return (uint64_t)(uintptr_t)pointer; }

static ffi_type *type_of(char letter) {
    switch (letter) {
    case 'p':
        return &ffi_type_pointer;
    case 'z':
        return sizeof(size_t) == 8 ? &ffi_type_uint64 : &ffi_type_uint32;
    case 'u':
        return &ffi_type_uint32;
    case 'i':
        return &ffi_type_sint32;
    default:
        return &ffi_type_void;
    }
}

static uint64_t call(const char *name, uint64_t *arguments) {
    const char *signature = NULL;
    for (size_t i = 0; i < function_count; i++)
        if (strcmp(functions[i].name, name) == 0) signature = functions[i].signature;
    void (*function)(void) = NULL;
    *(void **)&function = dlsym(library, name);
    if (!signature || !function) {
        CHECK(0, "%s is missing", name);
        return UINT64_MAX;
    }
    size_t count = strlen(signature) - 1;
    ffi_type *types[16];
    void *values[16];
    for (size_t i = 0; i < count; i++) {
        types[i] = type_of(signature[i + 1]);
        values[i] = &arguments[i];
    }
    ffi_cif interface;
    ffi_arg result = 0;
    CHECK(ffi_prep_cif(&interface, FFI_DEFAULT_ABI, (unsigned)count, type_of(signature[0]), types) == FFI_OK, "%s",
          name);
    ffi_call(&interface, function, &result, values);
    return signature[0] == 'i' || signature[0] == 'u' ? (uint32_t)result : (uint64_t)result;
}

#define CALL(name, ...) call(name, (uint64_t[]){__VA_ARGS__})
#define OK(name, ...) CHECK(CALL(name, __VA_ARGS__) == 0, "%s", name)

static int heard;

/* int32 (void *user_data, const cabochon_token *): user_data, then size_t, int32 id, float, text, length. */
static void on_token(ffi_cif *interface, void *result, void **arguments, void *context) {
    (void)interface, (void)context;
    const char *token = *(const char **)arguments[1];
    size_t struct_size;
    memcpy(&struct_size, token, sizeof struct_size);
    CHECK(struct_size == 64, "%zu", struct_size);
    CHECK(*(int **)arguments[0] == &heard, "user_data comes back");
    heard++;
    *(ffi_arg *)result = 0;
}

int main(int argc, char **argv) {
    library = dlopen(argc > 2 ? argv[1] : LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) return fprintf(stderr, "ffi: %s\n", dlerror()), 1;
    for (size_t i = 0; i < function_count; i++) CHECK(dlsym(library, functions[i].name), "%s", functions[i].name);

    CHECK(CALL("cabochon_abi_version", 0) >> 16 == 1, "major version 1");
    CHECK(strcmp((const char *)CALL("cabochon_version", 0), "1.0.0") == 0, "version");
    void *engine = NULL, *model = NULL, *session = NULL, *generation = NULL, *error = NULL;
    OK("cabochon_engine_create", 0, p(&engine), p(&error));
    CHECK(CALL("cabochon_engine_backend_count", p(engine)) >= 1, "backends");
    CHECK(CALL("cabochon_engine_backend_name", p(engine), 0) != 0, "the first backend has a name");

    CHECK((int32_t)CALL("cabochon_model_load", p(engine), p("/nowhere"), 0, p(&model), p(&error)) == -3, "io");
    size_t length = 0;
    const char *message = (const char *)CALL("cabochon_error_message", p(error), p(&length));
    CHECK(length > 0 && strstr(message, "/nowhere"), "%s", message);
    CHECK((int32_t)CALL("cabochon_error_code", p(error)) == -3, "the error's code");
    CHECK(strcmp((const char *)CALL("cabochon_status_name", (uint32_t)-3), "io") == 0, "its name");
    CALL("cabochon_error_free", p(error));
    OK("cabochon_model_load", p(engine), p(argc > 2 ? argv[2] : MODEL), 0, p(&model), 0);
    uint32_t vocabulary = (uint32_t)CALL("cabochon_model_vocab_size", p(model));
    CHECK(vocabulary > 0 && CALL("cabochon_model_layer_count", p(model)) > 0, "%u", vocabulary);
    CHECK(strncmp((const char *)CALL("cabochon_model_architecture", p(model)), "gemma", 5) == 0, "architecture");
    CHECK((int32_t)CALL("cabochon_model_bos_id", p(model)) == 2, "BOS");

    int32_t ids[64];
    length = 64;
    OK("cabochon_model_tokenize", p(model), p("Hello world"), 11, 1, p(ids), p(&length), 0);
    size_t prompt_length = length;
    char text[256];
    length = sizeof text;
    OK("cabochon_model_detokenize", p(model), p(ids), prompt_length, p(text), p(&length), 0);
    CHECK(length == 11 && memcmp(text, "Hello world", 11) == 0, "%.*s", (int)length, text);

    /* struct cabochon_message: role, its length, content, its length. */
    uint64_t messages[] = {p("user"), 4, p("Hi"), 2};
    length = sizeof text;
    OK("cabochon_model_apply_chat_template", p(model), p(messages), 1, 1, p(text), p(&length), 0);
    CHECK(length > 4 && memcmp(text, "<bos>", 5) == 0, "%.*s", (int)length, text);

    size_t floats = prompt_length * vocabulary;
    float *logits = malloc(floats * sizeof *logits);
    OK("cabochon_model_logits", p(model), p(ids), prompt_length, p(logits), p(&floats), 0);
    size_t width = 0;
    OK("cabochon_model_site_width", p(model), p("0.resid_post"), p(&width), 0);
    float *rows = malloc(prompt_length * width * sizeof *rows);
    uint64_t sites[] = {p("0.resid_post")}, outputs[] = {p(rows)}, lens[] = {prompt_length * width};
    OK("cabochon_model_activations", p(model), p(ids), prompt_length, p(sites), 1, p(outputs), p(lens), 0);

    OK("cabochon_session_create", p(model), 0, p(&session), 0);
    /* struct cabochon_generation_options: size, sampling, flags, max_tokens, zeros; greedy, past EOS. */
    uint64_t options[15];
    CALL("cabochon_generation_options_init", p(options), sizeof options);
    ((uint32_t *)options)[2] = 2;
    ((uint32_t *)options)[3] = 1;
    ((uint32_t *)options)[4] = 6;
    ffi_cif interface;
    ffi_type *types[] = {&ffi_type_pointer, &ffi_type_pointer};
    void *code = NULL;
    ffi_closure *closure = ffi_closure_alloc(sizeof *closure, &code);
    ffi_prep_cif(&interface, FFI_DEFAULT_ABI, 2, &ffi_type_sint32, types);
    CHECK(closure && ffi_prep_closure_loc(closure, &interface, on_token, NULL, code) == FFI_OK, "closure");
    OK("cabochon_session_generate", p(session), p(ids), prompt_length, p(options), p(code), p(&heard), p(&generation),
       0);
    const int32_t *tokens = (const int32_t *)CALL("cabochon_generation_tokens", p(generation), p(&length));
    CHECK(length == 6 && heard == 6, "%zu tokens, %d heard", length, heard);
    size_t best = 0;
    const float *last = logits + (prompt_length - 1) * vocabulary;
    for (size_t i = 1; i < vocabulary; i++)
        if (last[i] > last[best]) best = i;
    CHECK((size_t)tokens[0] == best, "the first greedy token is the likeliest of the logits");
    CHECK(CALL("cabochon_session_length", p(session)) == prompt_length + 6, "the session holds both");
    OK("cabochon_session_truncate", p(session), 3, 0);
    CHECK(CALL("cabochon_session_length", p(session)) == 3, "truncated");

    /* Two rows of a dictionary of ten features, as compressed sparse rows. */
    size_t offsets[] = {0, 1, 3};
    uint32_t indices[] = {4, 0, 9};
    float values[] = {0.5f, 1, 2};
    void *features = NULL;
    OK("cabochon_features_create", 10, 2, p(offsets), p(indices), p(values), p(&features), 0);
    CHECK(CALL("cabochon_features_row_count", p(features)) == 2, "rows");
    const float *kept = (const float *)CALL("cabochon_features_values", p(features), p(&length));
    CHECK(length == 3 && kept[2] == 2, "%zu values", length);
    CALL("cabochon_features_free", p(features));

    void *guard = NULL;
    double score = -1;
    OK("cabochon_guard_create", p(model), 0, p(&guard), 0);
    OK("cabochon_guard_score", p(guard), p(ids), prompt_length, p(&score), 0);
    CHECK(score > 0 && score < 1, "%f", score);
    CALL("cabochon_guard_free", p(guard));

    ffi_closure_free(closure);
    CALL("cabochon_generation_free", p(generation));
    CALL("cabochon_session_free", p(session));
    CALL("cabochon_model_free", p(model));
    CALL("cabochon_engine_free", p(engine));
    free(logits);
    free(rows);
    return finish();
}
