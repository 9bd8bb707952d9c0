/* cabochon/cabochon.h - the client interface of libcabochon: run Google's Gemma models on a CPU.
 *
 * The main path: an engine (threads and compute backends), a model (a file's weights and its
 * tokenizer), a session (one conversation's memory), and generate, which hands over each token as
 * it comes. Examples/c/hello.c is the shortest whole program, Examples/c/stream.c the next one.
 *
 * Threads.  An argument `const cabochon_engine *`, `const cabochon_model *` and so on may be in
 * use by any number of calls on any threads at the same time; an argument without const belongs
 * to the call alone until it returns. An engine and a model never change once they exist (a
 * model's choice of backend is the exception, and swaps atomically), so all their calls but
 * freeing are const. A session belongs to one thread at a time, and may move between threads: a call
 * that needs it exclusively while another is running gives CABOCHON_ERROR_INVALID_ARGUMENT.
 * cabochon_session_cancel, _model_cancel and _guard_cancel may come at any time, even from a signal handler.
 * No thread is started before the first computation, unless OpenBLAS does so when the blas backend
 * is first chosen, or listed with the others. After fork(), a child may create an engine of its own
 * and free what it inherited, in any order; functions that list CABOCHON_ERROR_FORKED give it for an
 * engine that was inherited, and for what depends on it. A thread that calls needs 256 KiB of stack,
 * beside what its callbacks take.
 *
 * Ownership.  Everything is reached through opaque handles, each with a count of its references.
 * A function that stores a handle through a pointer (`out_engine`) gives the caller one reference;
 * `_retain` adds one, `_free` gives one back and is a no-op for NULL. What a handle depends on it
 * keeps alive by itself: a model may be freed while its sessions still run. Never call free() on
 * anything from here. Pointers returned directly are borrowed, and each function says from what.
 * Arguments are read during the call only; nothing of the caller's is kept, but for the log
 * callback of an engine.
 *
 * Errors.  A function that can fail returns a cabochon_status: CABOCHON_OK (0), or a negative
 * code. Its last parameter, `cabochon_error **error`, may be NULL; otherwise it receives NULL on
 * success, and on failure an error object with the code and a message that names the file, the
 * key, the offset and the numbers (to be freed with cabochon_error_free); control characters in
 * what it names are spelled out, so that it is one line. There is no "last error". After a failure
 * every out-handle is NULL, buffers are untouched, and nothing has changed or needs to be released,
 * unless a function says otherwise. Each function lists its codes; these may come from any of them,
 * and are not repeated:
 *     CABOCHON_ERROR_INVALID_HANDLE    a handle is NULL, freed, or of another kind
 *     CABOCHON_ERROR_INVALID_ARGUMENT  a pointer that must not be NULL is
 *     CABOCHON_ERROR_OUT_OF_MEMORY     an allocation was refused
 *     CABOCHON_ERROR_INTERNAL          a defect of Cabochon's own; please report its message
 * Bad input, from callers or from files, never ends the process. One thing can: model files are
 * mapped, and one that is truncated while it is in use raises SIGBUS. Replace files by renaming, or
 * load with CABOCHON_LOAD_COPY.
 *
 * Text and arrays.  Text is UTF-8, never repaired: bytes that are not UTF-8 are
 * CABOCHON_ERROR_INVALID_UTF8. It comes in as a pointer and a length in bytes (NULL is fine for
 * length 0); paths and names are NUL-terminated. Functions that fill a caller's buffer are called
 * `(..., char *buffer, size_t *inout_len, ...)`: *inout_len holds the buffer's capacity on entry
 * and the number of elements on return (bytes of text, without any terminator; ids; floats). With
 * buffer NULL they only write the needed number and succeed. With too small a buffer they write
 * the needed number, leave the buffer untouched and return CABOCHON_ERROR_BUFFER_TOO_SMALL; after
 * any other failure *inout_len is as before.
 *
 * Limits.  An argument that is read has at most 2,147,483,647 elements, rows or bytes, and these fewer;
 * more are CABOCHON_ERROR_INVALID_ARGUMENT:
 *     1,024        backend paths, stop texts, policies, thresholds
 *     4,096        dictionaries in one list, edits
 *     65,536       sites
 *     1,048,576    messages, logit biases
 *     16,777,216   the width of a dictionary, its features or positions in one list
 *
 * Options.  Structs of options begin with struct_size, and are filled by their `_init` function:
 *     cabochon_model_options options;
 *     cabochon_model_options_init(&options, sizeof options);
 * which sets every byte after struct_size to zero; zero means "the default" in every field. NULL
 * in place of a struct means all defaults. Later versions add fields at the end. An older
 * library accepts a longer struct whose unknown fields are zero, and answers
 * CABOCHON_ERROR_UNSUPPORTED_OPTION otherwise, as it does for unknown flags.
 *
 * Callbacks run on the thread that made the call, and get the caller's `user_data` first. They
 * must not unwind or longjmp through the library, nor use the session they were called for,
 * except to cancel it.
 *
 * What it leaves alone.  No signal handlers, alternate stacks, atexit functions, locale, working
 * directory, standard output or error. Worker threads block all signals. Silent without a log
 * callback. Environment: CABOCHON_BACKEND and CABOCHON_BACKEND_PATH, and for the files of
 * cabochon_sae_options.cache, which it makes in the user's cache folder, XDG_CACHE_HOME and HOME; all
 * ignored in set-uid programs. One thing it asks of Linux for all of the process, where the processor has
 * AMX: the tiles (ARCH_REQ_XCOMP_PERM), when the backend "amx" is created. Signal frames may be 8 KiB larger
 * from then on, and alternate signal stacks smaller than AT_MINSIGSTKSZ says are refused; where a thread has
 * one already, Linux refuses the tiles, and the best other backend is taken.
 *
 * Versions follow semver; everything here is since 1.0 unless it says otherwise. libcabochon.so.1
 * keeps every function and struct field of every 1.x.
 */
#ifndef CABOCHON_CABOCHON_H
#define CABOCHON_CABOCHON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Versions ------------------------------------------------------------------------------ */

/* The version of this header. The library's SONAME and its pkg-config file are made from it. */
#define CABOCHON_VERSION_MAJOR 1
#define CABOCHON_VERSION_MINOR 0
#define CABOCHON_VERSION_PATCH 0

/* The version of the library in use as 0x00MMmmpp; any thread, at any time. A program built with
 * this header runs with a library of the same major version and an equal or later minor one. */
uint32_t cabochon_abi_version(void);

/* The same as text, "1.0.0": static, NUL-terminated. */
const char *cabochon_version(void);

/* ---- Errors -------------------------------------------------------------------------------- */

/* 0, or one of the negative codes below. Later versions may add codes. */
typedef int32_t cabochon_status;

#define CABOCHON_OK 0
#define CABOCHON_ERROR_INVALID_ARGUMENT (-1)    /* an argument is outside its documented range */
#define CABOCHON_ERROR_OUT_OF_MEMORY (-2)       /* an allocation was refused */
#define CABOCHON_ERROR_IO (-3)                  /* a file cannot be opened, read or written */
#define CABOCHON_ERROR_INVALID_FILE (-4)        /* a file's bytes break the rules of its format */
#define CABOCHON_ERROR_UNSUPPORTED (-5)         /* well-formed, but nothing that Cabochon runs */
#define CABOCHON_ERROR_CONTEXT_EXCEEDED (-6)    /* more tokens than the context holds */
#define CABOCHON_ERROR_CANCELLED (-7)           /* cancelled by the caller */
#define CABOCHON_ERROR_BACKEND (-8)             /* a backend is missing, unfit, or failed */
#define CABOCHON_ERROR_BUFFER_TOO_SMALL (-9)    /* the needed size has been written */
#define CABOCHON_ERROR_INVALID_HANDLE (-10)     /* NULL, freed, or of another kind */
#define CABOCHON_ERROR_INVALID_UTF8 (-11)       /* text that is not UTF-8 */
#define CABOCHON_ERROR_UNSUPPORTED_OPTION (-12) /* an option that this version does not know */
#define CABOCHON_ERROR_FORKED (-13)             /* an engine inherited through fork() */
#define CABOCHON_ERROR_INTERNAL (-14)           /* a defect of Cabochon's own */

/* What went wrong: a code and a message. Immutable. */
typedef struct cabochon_error cabochon_error;

/* The status that the failed function returned. CABOCHON_OK for NULL; for a handle that is not an
 * error, CABOCHON_ERROR_INVALID_HANDLE. */
cabochon_status cabochon_error_code(const cabochon_error *error);

/* The message: one line of UTF-8, NUL-terminated, borrowed from the error. *out_len (may be NULL)
 * receives its length. "" for NULL or a handle that is not an error. */
const char *cabochon_error_message(const cabochon_error *error, size_t *out_len);

/* A status as a word: "ok", "invalid_argument", "out_of_memory", "io", "invalid_file",
 * "unsupported", "context_exceeded", "cancelled", "backend", "buffer_too_small", "invalid_handle",
 * "invalid_utf8", "unsupported_option", "forked", "internal", else "unknown". Static. */
const char *cabochon_status_name(cabochon_status status);

/* Adds a reference and returns the error; NULL for NULL or a handle that is not an error. */
cabochon_error *cabochon_error_retain(const cabochon_error *error);

/* Gives a reference back. NULL is a no-op. */
void cabochon_error_free(cabochon_error *error);

/* ---- Engine: threads and backends ---------------------------------------------------------- */

/* What a process needs once: a pool of threads and the compute backends this machine can run. */
typedef struct cabochon_engine cabochon_engine;

/* Levels of log messages. */
#define CABOCHON_LOG_UNKNOWN 0u
#define CABOCHON_LOG_DEBUG 1u
#define CABOCHON_LOG_INFO 2u
#define CABOCHON_LOG_WARNING 3u
#define CABOCHON_LOG_ERROR 4u

/* Receives one line: `message` is UTF-8 of message_len bytes, NUL-terminated, valid during the
 * call. Unlike other callbacks it may run on several threads at once. */
typedef void (*cabochon_log_callback)(void *user_data, uint32_t level, const char *message, size_t message_len);

/* Values of cabochon_engine_options.plugins. */
#define CABOCHON_PLUGINS_DEFAULT 0u /* the same as LOAD */
#define CABOCHON_PLUGINS_LOAD 1u    /* look for backends and load those that fit */
#define CABOCHON_PLUGINS_NONE 2u    /* load nothing: the built-in scalar backend alone */

typedef struct cabochon_engine_options {
    size_t struct_size;
    /* Threads that compute, the caller's own included, 1 to 256. 0: one for each processor that
     * this process may run on. */
    uint32_t threads;
    /* CABOCHON_PLUGINS_*. */
    uint32_t plugins;
    /* backend_path_count NUL-terminated absolute paths, each a backend's library or a folder of
     * them, searched first. Then come CABOCHON_BACKEND_PATH and the folder `cabochon` beside
     * libcabochon itself; never the current directory. Files and their folders must belong to this user,
     * root or libcabochon's owner, and not be for all to write. May be NULL when the count is 0. */
    const char *const *backend_paths;
    size_t backend_path_count;
    /* Receives what the engine has to say; NULL is silence. Both must stay valid until the last
     * handle that depends on the engine is freed. */
    cabochon_log_callback log;
    void *log_user_data;
} cabochon_engine_options;

/* Prepares `options` for use: writes struct_size and zeroes the rest. `size` is
 * sizeof(cabochon_engine_options) as the caller knows it. A no-op if options is NULL or size is
 * too small to hold struct_size. */
void cabochon_engine_options_init(cabochon_engine_options *options, size_t size);

/* Creates an engine: finds the backends, checks each against this processor, and loads those that
 * fit. Backends that do not are left out with a reason (cabochon_engine_describe). Starts no
 * thread; those start with the first computation, and end with the engine's last reference.
 *   options    NULL for all defaults.
 *   out_engine receives the engine, owned by the caller.
 * Returns INVALID_ARGUMENT for more than 256 threads or a relative path, UNSUPPORTED_OPTION,
 * INVALID_UTF8 for a path, BACKEND if a library named in backend_paths cannot be used (the message
 * says both versions, or the missing processor feature). */
cabochon_status cabochon_engine_create(const cabochon_engine_options *options, cabochon_engine **out_engine,
                                       cabochon_error **error);

/* Adds a reference and returns the engine; NULL if it is not a live engine. */
cabochon_engine *cabochon_engine_retain(const cabochon_engine *engine);

/* Gives a reference back. NULL is a no-op. The last one, counting those of models, ends the
 * threads and waits for them (in a forked child, which has none, it does not wait). */
void cabochon_engine_free(cabochon_engine *engine);

/* Backends that this machine can run; at least 1, as "scalar" is built in. 0 if `engine` is not a
 * live engine. */
size_t cabochon_engine_backend_count(const cabochon_engine *engine);

/* The name of backend `index`, best first, "scalar" last: NUL-terminated, borrowed from the
 * engine. NULL beyond the count, or if `engine` is not a live engine. */
const char *cabochon_engine_backend_name(const cabochon_engine *engine, size_t index);

/* Threads that compute, the caller's own included: those asked for, but no more than processors that
 * the thread which created the engine might run on. 0 if `engine` is not a live engine. */
uint32_t cabochon_engine_thread_count(const cabochon_engine *engine);

/* Everything about the engine as one JSON object: "version", "threads", "backends" (objects of
 * name, version, path, priority, cpu_features, same_bits), "rejected" (objects of path, reason).
 * Two-call. Returns BUFFER_TOO_SMALL. */
cabochon_status cabochon_engine_describe(const cabochon_engine *engine, char *buffer, size_t *inout_len,
                                         cabochon_error **error);

/* ---- Model: weights and tokenizer ---------------------------------------------------------- */

/* A checkpoint: its weights (mapped, so shared between processes), tokenizer and chat template. */
typedef struct cabochon_model cabochon_model;

/* Values of cabochon_model_options.kv_type: what sessions keep keys and values in. */
#define CABOCHON_KV_DEFAULT 0u /* the same as F16 */
#define CABOCHON_KV_F16 1u
#define CABOCHON_KV_F32 2u /* twice the memory, exact */
/* Half the memory: 32 elements of a head share a float16 scale and take a byte each, as in GGUF's
 * Q8_0. Late in a long context tokens come faster, and the logits are a little less exact. Heads
 * must be whole blocks of 32 elements, as every published Gemma's are; else UNSUPPORTED. */
#define CABOCHON_KV_Q8_0 3u

/* Values of cabochon_model_options.embedding_scale: how the square root of the hidden size, by
 * which embeddings are multiplied, is rounded. It makes a difference of 0.2 % in Gemma 2 9B. */
#define CABOCHON_EMBEDDING_SCALE_DEFAULT 0u /* BF16, but F32 where the file holds it in F32 */
#define CABOCHON_EMBEDDING_SCALE_BF16 1u    /* as in training and in transformers */
#define CABOCHON_EMBEDDING_SCALE_F32 2u     /* as in llama.cpp */

/* Bits of cabochon_model_options.flags. */
#define CABOCHON_LOAD_VOCABULARY_ONLY 1u /* tokenizer and metadata; nothing computes */
#define CABOCHON_LOAD_COPY 2u            /* read weights into memory of the process's own, do not map them */

typedef struct cabochon_model_options {
    size_t struct_size;
    /* Name of a backend, "simd" for the best SIMD one, or the absolute path of a backend's
     * library. NULL: the environment's CABOCHON_BACKEND unless that is empty, else the best. */
    const char *backend;
    /* CABOCHON_KV_*. */
    uint32_t kv_type;
    /* CABOCHON_EMBEDDING_SCALE_*. */
    uint32_t embedding_scale;
    /* CABOCHON_LOAD_*. */
    uint32_t flags;
    /* The context that sessions get when they don't say, in tokens. 0: the checkpoint's own. */
    uint32_t context_length;
} cabochon_model_options;

/* As cabochon_engine_options_init. */
void cabochon_model_options_init(cabochon_model_options *options, size_t size);

/* Loads a Gemma 2 or Gemma 3 text model. Blocks while the file is read and checked, and while the
 * backend lays out the weights.
 *   engine    kept alive by the model.
 *   path      NUL-terminated: a GGUF file (or the first part of a split one), or a folder in the
 *             Hugging Face layout.
 *   options   NULL for all defaults.
 *   out_model receives the model, owned by the caller.
 * Returns INVALID_ARGUMENT, UNSUPPORTED_OPTION, INVALID_UTF8 for path or backend, IO, INVALID_FILE
 * with the file, key and offset, UNSUPPORTED for another architecture or tensor type or a kv_type
 * that the model's heads don't fit, BACKEND for an unknown or unfit one, FORKED. */
cabochon_status cabochon_model_load(const cabochon_engine *engine, const char *path,
                                    const cabochon_model_options *options, cabochon_model **out_model,
                                    cabochon_error **error);

/* Adds a reference and returns the model; NULL if it is not a live model. */
cabochon_model *cabochon_model_retain(const cabochon_model *model);

/* Gives a reference back. NULL is a no-op. The last one, counting those of sessions, unmaps the
 * weights. */
void cabochon_model_free(cabochon_model *model);

/* "gemma2" or "gemma3": NUL-terminated, borrowed from the model. NULL if it is not a live model. */
const char *cabochon_model_architecture(const cabochon_model *model);

/* Numbers of the checkpoint; 0 (-1 for the id) if `model` is not a live model. */
uint32_t cabochon_model_vocab_size(const cabochon_model *model);     /* ids are 0 to this - 1 */
uint32_t cabochon_model_hidden_size(const cabochon_model *model);    /* residual stream, floats */
uint32_t cabochon_model_layer_count(const cabochon_model *model);
uint32_t cabochon_model_context_length(const cabochon_model *model); /* tokens of a session */
int32_t cabochon_model_bos_id(const cabochon_model *model); /* a prompt's first token; -1: none */

/* The ids at which generation stops: end of sequence, end of turn. Two-call.
 * Returns BUFFER_TOO_SMALL. */
cabochon_status cabochon_model_eos_ids(const cabochon_model *model, int32_t *ids, size_t *inout_len,
                                       cabochon_error **error);

/* What the files say as one JSON object: "path", "format", "files", "bytes", "parameters",
 * "architecture", the hyper-parameters, "metadata" (an object of printable values) and "tensors"
 * (objects of name, type, shape, bytes). Two-call. Returns BUFFER_TOO_SMALL; IO and INVALID_FILE for
 * a folder that has changed since. */
cabochon_status cabochon_model_describe(const cabochon_model *model, char *buffer, size_t *inout_len,
                                        cabochon_error **error);

/* The name of the backend that computes. Two-call, as it may change. Returns BUFFER_TOO_SMALL. */
cabochon_status cabochon_model_backend(const cabochon_model *model, char *buffer, size_t *inout_len,
                                       cabochon_error **error);

/* Chooses the backend that computes from now on. Nothing is reloaded and no session loses its
 * memory: each computation that begins later uses it, those of other threads included, and so
 * does the next token when this is called from a token callback.
 *   name      as cabochon_model_options.backend, not NULL.
 * Returns BACKEND (the old one stays), INVALID_UTF8, INVALID_ARGUMENT for a vocabulary-only model,
 * FORKED. */
cabochon_status cabochon_model_set_backend(const cabochon_model *model, const char *name, cabochon_error **error);

/* ---- Text ---------------------------------------------------------------------------------- */

/* Bits of `flags` of cabochon_model_tokenize. */
#define CABOCHON_TOKENIZE_ADD_BOS 1u       /* begin with the BOS token */
#define CABOCHON_TOKENIZE_PARSE_SPECIAL 2u /* "<end_of_turn>" is that token, not text */

/* Splits text into tokens, exactly as SentencePiece does. Text from users goes in without
 * PARSE_SPECIAL, so that it can never yield a control token.
 *   text      UTF-8, text_len bytes; may hold NUL characters.
 *   flags     CABOCHON_TOKENIZE_*.
 *   ids       two-call.
 * Returns INVALID_UTF8, UNSUPPORTED_OPTION for unknown flags, BUFFER_TOO_SMALL. */
cabochon_status cabochon_model_tokenize(const cabochon_model *model, const char *text, size_t text_len, uint32_t flags,
                                        int32_t *ids, size_t *inout_len, cabochon_error **error);

/* The text of tokens, as SentencePiece makes it: BOS, EOS and padding vanish, other control tokens are
 * spelled out, and bytes that form no character become U+FFFD.
 *   ids       id_count ids, each 0 to vocab_size - 1.
 *   buffer    two-call; UTF-8.
 * Returns INVALID_ARGUMENT for an id out of range, BUFFER_TOO_SMALL. */
cabochon_status cabochon_model_detokenize(const cabochon_model *model, const int32_t *ids, size_t id_count,
                                          char *buffer, size_t *inout_len, cabochon_error **error);

/* The vocabulary's own spelling of one token, such as "\xE2\x96\x81the" or "<0x0A>". Two-call.
 * Returns INVALID_ARGUMENT for an id out of range, BUFFER_TOO_SMALL. */
cabochon_status cabochon_model_token_piece(const cabochon_model *model, int32_t id, char *buffer, size_t *inout_len,
                                           cabochon_error **error);

/* One message of a conversation: who speaks, "user", "assistant" (or "model") or "system", and
 * what. Both UTF-8. Gemma has no system turn: a system message becomes the beginning of the user's
 * message that follows. White space around a message is dropped, as the official template does. */
typedef struct cabochon_message {
    const char *role;
    size_t role_len;
    const char *content;
    size_t content_len;
} cabochon_message;

/* Bits of `flags` of the three functions below. */
#define CABOCHON_CHAT_ADD_GENERATION_PROMPT 1u /* end with the start of a model's turn */
/* System messages, and roles that do not alternate from the user on, are INVALID_ARGUMENT. Without
 * it neighbours of one role become one message, joined by a blank line. */
#define CABOCHON_CHAT_STRICT 2u
#define CABOCHON_CHAT_TURN_IS_CLOSED 4u /* render_turn: the session ends with the end of a turn */

/* Writes a conversation in Gemma's chat format, byte for byte as the official template does, from
 * "<bos>" on. To be read: render_chat gives what a model is fed.
 *   messages  message_count of them, at least 1.
 *   flags     CABOCHON_CHAT_*.
 *   buffer    two-call; UTF-8.
 * Returns INVALID_ARGUMENT for no messages, an unknown role or what STRICT refuses, INVALID_UTF8,
 * UNSUPPORTED_OPTION for unknown flags, BUFFER_TOO_SMALL. */
cabochon_status cabochon_model_apply_chat_template(const cabochon_model *model, const cabochon_message *messages,
                                                   size_t message_count, uint32_t flags, char *buffer,
                                                   size_t *inout_len, cabochon_error **error);

/* The same conversation as tokens, BOS included. The markers around the messages become control
 * tokens; what stands inside a message never does, whatever it spells. `ids` is two-call.
 * Arguments and statuses as cabochon_model_apply_chat_template, and UNSUPPORTED for a vocabulary
 * that lacks the markers. */
cabochon_status cabochon_model_render_chat(const cabochon_model *model, const cabochon_message *messages,
                                           size_t message_count, uint32_t flags, int32_t *ids, size_t *inout_len,
                                           cabochon_error **error);

/* The tokens that continue a conversation whose last answer a session holds: they end the model's
 * turn, add `messages`, the user first, and start the model's next turn. Generating after these
 * costs nothing for the turns that the session remembers. `ids` is two-call. Arguments and statuses
 * as cabochon_model_render_chat. */
cabochon_status cabochon_model_render_turn(const cabochon_model *model, const cabochon_message *messages,
                                           size_t message_count, uint32_t flags, int32_t *ids, size_t *inout_len,
                                           cabochon_error **error);

/* ---- Logits and activations ---------------------------------------------------------------- */

/* The logits of every position, after the final softcap, in one pass without a session.
 *   ids       id_count of them, at least 1, BOS first as the model expects.
 *   logits    [id_count, vocab_size] float32, row-major. Two-call; *inout_len counts floats.
 * Blocks; can be cancelled. Returns INVALID_ARGUMENT for no ids, an id out of range or a
 * vocabulary-only model, CONTEXT_EXCEEDED, BUFFER_TOO_SMALL, CANCELLED, BACKEND, FORKED.
 * Once the computation has begun a failure may leave `logits` partly written. */
cabochon_status cabochon_model_logits(const cabochon_model *model, const int32_t *ids, size_t id_count, float *logits,
                                      size_t *inout_len, cabochon_error **error);

/* How many floats a site has for each token.
 *   site      NUL-terminated: "LAYER.NAME", NAME one of resid_pre, attn_z, attn_out_raw, attn_out,
 *             resid_mid, mlp_in_normalized, mlp_in, mlp_out_raw, mlp_out, resid_post; or the
 *             TransformerLens name, "blocks.LAYER.hook_resid_post".
 *   out_width receives the number.
 * Returns INVALID_ARGUMENT for an unknown site or a layer out of range, INVALID_UTF8. */
cabochon_status cabochon_model_site_width(const cabochon_model *model, const char *site, size_t *out_width,
                                          cabochon_error **error);

/* What passes the sites while the model reads `ids`. Runs no layer past the last one asked for.
 *   ids       id_count of them, at least 1.
 *   sites     site_count names, as cabochon_model_site_width.
 *   outputs   site_count buffers; each receives [id_count, width of its site] float32, row-major.
 *   lens      site_count capacities, in floats; each must be at least what its site needs.
 * Blocks; can be cancelled. Returns what cabochon_model_logits and cabochon_model_site_width
 * do; a failure may leave the outputs partly written in the same case. */
cabochon_status cabochon_model_activations(const cabochon_model *model, const int32_t *ids, size_t id_count,
                                           const char *const *sites, size_t site_count, float *const *outputs,
                                           const size_t *lens, cabochon_error **error);

/* Asks all calls of cabochon_model_logits, _logits_with, _activations and _features that are running on
 * this handle to stop; they do so within one layer and return CABOCHON_ERROR_CANCELLED, also those that have
 * nothing left to compute. Any thread, any time, and in signal handlers: it takes no lock. A request that
 * comes when no call is running stops the next one. Does not reach sessions and guards, which have their
 * own. A no-op if `model` is not a live model, or is being freed. */
void cabochon_model_cancel(const cabochon_model *model);

/* ---- Sparse autoencoders --------------------------------------------------------------------- */

/* A dictionary of features: Gemma Scope's params.npz, or Gemma Scope 2's params.safetensors. A
 * feature of an activation x is x . encoder + bias where that is above the feature's threshold, and
 * otherwise 0. Immutable; any number of threads may use it. */
typedef struct cabochon_sae cabochon_sae;

/* Bits of cabochon_sae_options.flags. */
#define CABOCHON_SAE_LAYER 1u     /* `layer` is given, and may be 0 */
#define CABOCHON_SAE_IN_MEMORY 2u /* the encoder stands in memory; `cache` is NULL */

typedef struct cabochon_sae_options {
    size_t struct_size;
    /* Where it stands: a site's NAME of cabochon_model_site_width, or Gemma Scope's "res", "att",
     * "mlp", "transcoder", "embedding". NULL: what the path's folders or config.json say. */
    const char *site;
    /* The backend that encodes, as cabochon_model_options.backend; all give the same bits. */
    const char *backend;
    /* CABOCHON_SAE_*. */
    uint32_t flags;
    /* With CABOCHON_SAE_LAYER; otherwise what the path's folders or config.json say. */
    uint32_t layer;
    /* The folder of files that hold encoders, laid out for encoding: 5 bytes a number, 755 MB for
     * 65,536 features of 2,304. They are mapped: their pages are the file cache's, which the system
     * takes back when memory is short, not memory of the process; a later load of the same unchanged
     * dictionary finds its file. A decoder that the dictionary's own file has deflated, or not as
     * float32 rows, stands in it as well. They may be deleted at any time. A folder that is given is
     * made if need be. NULL: encoders below 32 MB stand in memory, others in files of
     * $XDG_CACHE_HOME/cabochon/encoders or $HOME/.cache/cabochon/encoders, and in memory as well
     * where no file can be made there. */
    const char *cache;
} cabochon_sae_options;

/* As cabochon_engine_options_init. */
void cabochon_sae_options_init(cabochon_sae_options *options, size_t size);

/* Loads a dictionary. Its encoder is laid out anew, one row per feature; its decoder stays mapped.
 *   engine    kept alive by the dictionary; its threads encode.
 *   path      NUL-terminated: the file, or the folder that holds it.
 *   options   NULL for all defaults.
 *   out_sae   receives the dictionary, owned by the caller.
 * Returns INVALID_ARGUMENT where neither options nor path say site and layer or options.cache is "",
 * UNSUPPORTED_OPTION, INVALID_UTF8, IO (also where no file can be made in options.cache), INVALID_FILE
 * with the array and the shapes that do not fit, UNSUPPORTED for another kind of dictionary, BACKEND,
 * FORKED. */
cabochon_status cabochon_sae_load(const cabochon_engine *engine, const char *path, const cabochon_sae_options *options,
                                  cabochon_sae **out_sae, cabochon_error **error);

/* A dictionary of which only some features are encoded: cabochon_sae_encode, cabochon_model_features and
 * watching read the encoder's rows of these and no others, and find the same bits. The other features
 * never fire for it, also where it is spliced in. The width and the features' numbers stay; decoding,
 * directions and steering are the whole dictionary's. Costs a copy of those rows.
 *   sae       its memory is shared with the new one, and may be freed before it.
 *   features  feature_count of them, at least 1, in any order. Of a dictionary that was made here
 *             they may again be any.
 *   out_sae   receives the new one, owned by the caller.
 * Returns INVALID_ARGUMENT for no features, one out of range or one that comes twice, FORKED. */
cabochon_status cabochon_sae_only(const cabochon_sae *sae, const uint32_t *features, size_t feature_count,
                                  cabochon_sae **out_sae, cabochon_error **error);

/* Adds a reference and returns the dictionary; NULL if it is not a live one. */
cabochon_sae *cabochon_sae_retain(const cabochon_sae *sae);

/* Gives a reference back. NULL is a no-op. */
void cabochon_sae_free(cabochon_sae *sae);

/* Numbers of the dictionary; 0 if `sae` is not a live one. */
uint32_t cabochon_sae_width(const cabochon_sae *sae);       /* features */
uint32_t cabochon_sae_input_size(const cabochon_sae *sae);  /* floats that it reads */
uint32_t cabochon_sae_output_size(const cabochon_sae *sae); /* floats that it reconstructs */
uint32_t cabochon_sae_layer(const cabochon_sae *sae);
uint32_t cabochon_sae_average_l0(const cabochon_sae *sae);  /* active features in training; 0: unknown */

/* The name of the site that it reads, such as "resid_post": NUL-terminated, borrowed from the
 * dictionary. NULL if it is not a live one. */
const char *cabochon_sae_site(const cabochon_sae *sae);

/* "autoencoder", or "transcoder" for one that reads an MLP's input and reconstructs its output:
 * static. NULL if it is not a live one. */
const char *cabochon_sae_kind(const cabochon_sae *sae);

/* One feature's decoder row, the direction that it writes.
 *   output    output_size float32. Two-call.
 * Returns INVALID_ARGUMENT for a feature out of range, BUFFER_TOO_SMALL, FORKED. */
cabochon_status cabochon_sae_direction(const cabochon_sae *sae, uint32_t feature, float *output, size_t *inout_len,
                                       cabochon_error **error);

/* The features that fire for each of some rows, as compressed sparse rows. Immutable. */
typedef struct cabochon_features cabochon_features;

/* Makes such rows of the caller's numbers, which are copied.
 *   width     features that could fire.
 *   offsets   row_count + 1, from 0: row r holds the elements offsets[r] to offsets[r + 1] - 1.
 *   indices   offsets[row_count] features, ascending inside a row, each below width.
 *   values    their activations.
 * Returns INVALID_ARGUMENT where that does not hold. */
cabochon_status cabochon_features_create(size_t width, size_t row_count, const size_t *offsets, const uint32_t *indices,
                                         const float *values, cabochon_features **out_features, cabochon_error **error);

/* Adds a reference and returns the features; NULL if they are not live. */
cabochon_features *cabochon_features_retain(const cabochon_features *features);

/* Gives a reference back. NULL is a no-op. */
void cabochon_features_free(cabochon_features *features);

/* Features that could fire, and rows. 0 if they are not live. */
size_t cabochon_features_width(const cabochon_features *features);
size_t cabochon_features_row_count(const cabochon_features *features);

/* The arrays, as in cabochon_features_create: *out_count elements (may be NULL), borrowed from the
 * features. NULL if they are not live. */
const size_t *cabochon_features_offsets(const cabochon_features *features, size_t *out_count);
const uint32_t *cabochon_features_indices(const cabochon_features *features, size_t *out_count);
const float *cabochon_features_values(const cabochon_features *features, size_t *out_count);

/* For each row, 1 where the token is one that dictionaries are not trained on (beginning and end of
 * a text, padding), else 0: *out_count bytes (may be NULL), borrowed from the features. NULL if they
 * are not live. */
const uint8_t *cabochon_features_excluded(const cabochon_features *features, size_t *out_count);

/* The features of activations. No dense row is made.
 *   input     [row_count, input_size] float32, row-major, as they are at the dictionary's site.
 * Returns INVALID_ARGUMENT, FORKED. */
cabochon_status cabochon_sae_encode(const cabochon_sae *sae, const float *input, size_t row_count,
                                    cabochon_features **out_features, cabochon_error **error);

/* The reconstruction of activations from features.
 *   features  of this dictionary's width.
 *   input     [rows, input_size] float32, what the features were made of: a dictionary with a skip
 *             connection needs it, the others do not read it and take NULL.
 *   output    [rows, output_size] float32. Two-call.
 * Returns INVALID_ARGUMENT for features of another width or a missing input, BUFFER_TOO_SMALL,
 * FORKED. */
cabochon_status cabochon_sae_decode(const cabochon_sae *sae, const cabochon_features *features, const float *input,
                                    float *output, size_t *inout_len, cabochon_error **error);

/* The features of a text for several dictionaries, in one pass that runs no layer past the last of
 * them, and no head.
 *   ids       id_count of them, at least 1. All have a row, BOS included.
 *   saes      sae_count dictionaries, at any sites.
 *   out_features  receives sae_count handles, owned by the caller; not touched where that is beyond
 *                 the limit.
 * Blocks; can be cancelled. Returns INVALID_ARGUMENT for a dictionary that does not fit the model
 * (with both sizes), and what cabochon_model_activations does. */
cabochon_status cabochon_model_features(const cabochon_model *model, const int32_t *ids, size_t id_count,
                                        const cabochon_sae *const *saes, size_t sae_count,
                                        cabochon_features **out_features, cabochon_error **error);

/* Values of cabochon_steer.mode: what happens to the activation h where the dictionary writes. v is
 * the feature's decoder row, f its activation before any edit at this site. */
#define CABOCHON_STEER_DEFAULT 0u    /* the same as ADD */
#define CABOCHON_STEER_ADD 1u        /* h + strength v */
#define CABOCHON_STEER_SET 2u        /* h + (strength - f) v: the feature is `strength` */
#define CABOCHON_STEER_SCALE 3u      /* h + (strength f - f) v */
#define CABOCHON_STEER_ABLATE 4u     /* h - f v */
#define CABOCHON_STEER_ORTHOGONAL 5u /* the part of h along v, times strength */
#define CABOCHON_STEER_CAP 6u        /* the part of h along v, at most strength long */

/* Values of cabochon_steer.positions. */
#define CABOCHON_POSITIONS_DEFAULT 0u /* the same as ALL */
#define CABOCHON_POSITIONS_ALL 1u
#define CABOCHON_POSITIONS_ANSWER 2u  /* from the one that predicts the answer's first token */
#define CABOCHON_POSITIONS_LISTED 3u  /* those of position_list */

/* One edit of one feature. All edits of a site see the features of the unedited activation, and are
 * made in order. */
typedef struct cabochon_steer {
    const cabochon_sae *sae;
    uint32_t feature;
    uint32_t mode;      /* CABOCHON_STEER_* */
    uint32_t positions; /* CABOCHON_POSITIONS_* */
    float strength;
    const size_t *position_list;
    size_t position_count;
    /* Only where this feature is above the threshold; it must stand no later than the edit. NULL:
     * everywhere. */
    const cabochon_sae *condition_sae;
    uint32_t condition_feature;
    float condition_threshold;
    uint64_t reserved_[2]; /* zero */
} cabochon_steer;

/* What dictionaries do to a computation. */
typedef struct cabochon_interventions {
    size_t struct_size;
    const cabochon_steer *steer;
    size_t steer_count;
    /* Each replaces its site by its reconstruction, at every position but those of the BOS token. */
    const cabochon_sae *const *splice;
    size_t splice_count;
    /* Each is encoded as tokens pass, after all edits of its site. To watch some of its features at
     * their own cost alone: cabochon_sae_only. */
    const cabochon_sae *const *watch;
    size_t watch_count;
} cabochon_interventions;

/* As cabochon_engine_options_init. */
void cabochon_interventions_init(cabochon_interventions *interventions, size_t size);

/* Receives what a watched dictionary found: the rows of `features` (borrowed for the call; may be
 * retained) stand at `positions` of the session. watch_index counts from 0. */
typedef void (*cabochon_features_callback)(void *user_data, size_t watch_index, const size_t *positions,
                                           const cabochon_features *features);

/* As cabochon_model_logits, with interventions on the way; `watch` is not used.
 * Returns INVALID_ARGUMENT also for a dictionary that does not fit the model, a feature out of
 * range, a strength that is not finite; UNSUPPORTED_OPTION for unknown modes or positions. */
cabochon_status cabochon_model_logits_with(const cabochon_model *model, const int32_t *ids, size_t id_count,
                                           const cabochon_interventions *interventions, float *logits,
                                           size_t *inout_len, cabochon_error **error);

/* ---- Session: one conversation ------------------------------------------------------------- */

/* The tokens read so far and what the model remembers of each (the KV cache). */
typedef struct cabochon_session cabochon_session;

typedef struct cabochon_session_options {
    size_t struct_size;
    /* Tokens that the session can hold. 0: the model's context_length. */
    uint32_t context_length;
    uint32_t reserved_; /* zero */
} cabochon_session_options;

/* As cabochon_engine_options_init. */
void cabochon_session_options_init(cabochon_session_options *options, size_t size);

/* Creates an empty session. Memory is taken as tokens come, not at once.
 *   model       kept alive by the session.
 *   options     NULL for all defaults.
 *   out_session receives the session, owned by the caller.
 * Returns INVALID_ARGUMENT for a context of more than 16,777,216 tokens or a vocabulary-only model,
 * UNSUPPORTED_OPTION, FORKED. */
cabochon_status cabochon_session_create(const cabochon_model *model, const cabochon_session_options *options,
                                        cabochon_session **out_session, cabochon_error **error);

/* Adds a reference and returns the session; NULL if it is not a live session. */
cabochon_session *cabochon_session_retain(const cabochon_session *session);

/* Gives a reference back. NULL is a no-op. Not while another thread is inside a call of it. */
void cabochon_session_free(cabochon_session *session);

/* Tokens held, and tokens that can be held. 0 if `session` is not a live session. */
size_t cabochon_session_length(const cabochon_session *session);
size_t cabochon_session_context_length(const cabochon_session *session);

/* The tokens held, in order. Two-call. Needs the session to itself, but that a callback of the session's own
 * running call may ask. Returns BUFFER_TOO_SMALL. */
cabochon_status cabochon_session_tokens(cabochon_session *session, int32_t *ids, size_t *inout_len,
                                        cabochon_error **error);

/* Reads tokens, all of them or, on failure, none. Any division into calls gives the same results.
 *   ids       id_count of them; 0 does nothing.
 * Blocks; can be cancelled. Returns INVALID_ARGUMENT for an id out of range, CONTEXT_EXCEEDED with
 * both numbers, CANCELLED, BACKEND, FORKED; the session then stands as before the call. */
cabochon_status cabochon_session_append(cabochon_session *session, const int32_t *ids, size_t id_count,
                                        cabochon_error **error);

/* What the model expects after the last token: vocab_size float32, after the final softcap.
 * Two-call. Returns INVALID_ARGUMENT for an empty session, BUFFER_TOO_SMALL, CANCELLED, BACKEND,
 * FORKED. */
cabochon_status cabochon_session_logits(cabochon_session *session, float *logits, size_t *inout_len,
                                        cabochon_error **error);

/* Forgets all but the first `length` tokens, which stay as they are. Returns INVALID_ARGUMENT if
 * there are fewer, FORKED. */
cabochon_status cabochon_session_truncate(cabochon_session *session, size_t length, cabochon_error **error);

/* Creates a second session with the same tokens, which goes its own way from here. No token is
 * read again. `out_session` receives it, owned by the caller. Returns FORKED (of processes). */
cabochon_status cabochon_session_fork(cabochon_session *session, cabochon_session **out_session,
                                      cabochon_error **error);

/* Writes the session to a file, from which cabochon_session_restore goes on as if it had never
 * been away. The file appears under its name only when it is whole.
 *   path      NUL-terminated; a regular file there is replaced, and a link keeps leading to it.
 * Returns INVALID_UTF8, IO, also for a pipe or a device, FORKED. */
cabochon_status cabochon_session_save(cabochon_session *session, const char *path, cabochon_error **error);

/* Creates a session from such a file, for the same checkpoint: a fine-tune or another quantisation of it
 * is another.
 * Returns INVALID_UTF8, IO, INVALID_FILE, INVALID_ARGUMENT for a session of another checkpoint or
 * kv_type, FORKED. */
cabochon_status cabochon_session_restore(const cabochon_model *model, const char *path, cabochon_session **out_session,
                                         cabochon_error **error);

/* Asks the session's running call to stop; it does so within one layer, returns
 * CABOCHON_ERROR_CANCELLED and leaves the session as it was before that call. Any thread, any
 * time, and in signal handlers: it takes no lock. A request that comes when no call is running stops
 * the next one that computes; one that comes when the call has nothing left to compute changes nothing.
 * A no-op if `session` is not a live session, or is being freed. */
void cabochon_session_cancel(const cabochon_session *session);

/* ---- Generation ---------------------------------------------------------------------------- */

/* Text with a length. */
typedef struct cabochon_text {
    const char *utf8;
    size_t len;
} cabochon_text;

/* A token and what is added to its logit, a finite number; or -INFINITY, which forbids it. */
typedef struct cabochon_logit_bias {
    int32_t token;
    float bias;
} cabochon_logit_bias;

/* Values of cabochon_generation_options.sampling. */
#define CABOCHON_SAMPLING_DEFAULT 0u /* the same as RANDOM */
#define CABOCHON_SAMPLING_RANDOM 1u  /* by the probabilities that the fields below shape */
#define CABOCHON_SAMPLING_GREEDY 2u  /* always the likeliest token */

/* Bits of cabochon_generation_options.flags. */
#define CABOCHON_GENERATE_IGNORE_EOS 1u /* go on past end of sequence and end of turn */
#define CABOCHON_GENERATE_SEEDED 2u     /* use `seed`, which may then be 0 */
/* Guess tokens ahead from what followed the same words before, and check several in one pass. Good
 * for answers that quote their prompt. The answer is the same, bit for bit, on backends that give
 * the same bits (cabochon_engine_describe). */
#define CABOCHON_GENERATE_PROMPT_LOOKUP 4u

/* The value of cabochon_generation_options.penalty_window that looks back at every token. */
#define CABOCHON_PENALTY_WINDOW_ALL 0xffffffffu

typedef struct cabochon_generation_options {
    size_t struct_size;
    /* CABOCHON_SAMPLING_*. */
    uint32_t sampling;
    /* CABOCHON_GENERATE_*. */
    uint32_t flags;
    /* Tokens to generate at most. 0: 256. */
    uint32_t max_tokens;
    /* Logits are divided by this. 0: 1. Not how greedy is asked for: see sampling. */
    float temperature;
    /* Only this many likeliest tokens. 0: all. */
    uint32_t top_k;
    /* Only the likeliest tokens whose probabilities sum to this, 0 to 1. 0: 1, all. */
    float top_p;
    /* Only tokens at least this probable, relative to the likeliest, 0 to 1. */
    float min_p;
    /* Divides positive and multiplies negative logits of tokens that occurred lately. 0: 1, none. */
    float repetition_penalty;
    /* Subtracted once from the logit of every token that is in the answer so far. */
    float presence_penalty;
    /* Subtracted for each time that a token is in the answer so far. */
    float frequency_penalty;
    /* How many tokens back are lately, those of the prompt included. 0: 64. */
    uint32_t penalty_window;
    /* Log-probabilities: that of each token, and of this many likeliest, 1 to 20. 0: none. */
    uint32_t logprobs;
    /* With CABOCHON_GENERATE_SEEDED: the same seed gives the same text. Otherwise a random seed is
     * used, and reported in the summary. */
    uint64_t seed;
    /* Generation ends before the first of these texts; it may span tokens. NULL when none. */
    const cabochon_text *stop;
    size_t stop_count;
    /* Added to logits before all else. NULL when none. */
    const cabochon_logit_bias *logit_bias;
    size_t logit_bias_count;
    /* A smaller model with the same vocabulary that guesses tokens ahead, as with PROMPT_LOOKUP, which
     * cannot be asked for as well. NULL: none. */
    const cabochon_model *draft;
    /* Features that are steered, spliced in or watched. Watching does not go with guesses. NULL: none. */
    const cabochon_interventions *interventions;
    /* Called, on this thread and with the same user_data, when features of watched dictionaries are
     * known: for the prompt at once, for a token of the answer after on_token had it. NULL: none. */
    cabochon_features_callback on_features;
} cabochon_generation_options;

/* As cabochon_engine_options_init. */
void cabochon_generation_options_init(cabochon_generation_options *options, size_t size);

/* A token, and the natural logarithm of its probability among the tokens that the vocabulary has: after
 * logit bias and penalties, before temperature and what follows. A token whose logit is NaN has none,
 * and is never chosen. */
typedef struct cabochon_token_logprob {
    int32_t token;
    float logprob;
} cabochon_token_logprob;

/* What a token callback receives; the pointers are valid during the call. struct_size is the
 * library's: later versions add fields at the end. */
typedef struct cabochon_token {
    size_t struct_size;
    int32_t id;
    /* 0 unless options.logprobs asks for it. */
    float logprob;
    /* Whole characters that are now certain: maybe none, maybe those of earlier tokens too, and
     * never a part of a stop text. */
    const char *text;
    size_t text_len;
    /* The token's own bytes, which may be part of a character. */
    const uint8_t *bytes;
    size_t bytes_len;
    /* The likeliest tokens here, most probable first. */
    const cabochon_token_logprob *alternatives;
    size_t alternative_count;
} cabochon_token;

/* Called for each token as it is chosen. 0 goes on; anything else ends the generation after this
 * token, with all it gave kept. A last call may bring text that was held back for a stop text, with
 * the id that ended the answer and no bytes. */
typedef int32_t (*cabochon_token_callback)(void *user_data, const cabochon_token *token);

/* A finished answer. Immutable. */
typedef struct cabochon_generation cabochon_generation;

/* Why an answer ended. Later versions may add reasons. */
#define CABOCHON_FINISH_UNKNOWN 0u
#define CABOCHON_FINISH_EOS 1u      /* the model ended its turn or the sequence */
#define CABOCHON_FINISH_STOP 2u     /* a stop text */
#define CABOCHON_FINISH_LENGTH 3u   /* max_tokens */
#define CABOCHON_FINISH_CALLBACK 4u /* the callback said so */
#define CABOCHON_FINISH_CONTEXT 5u  /* the session is full */
#define CABOCHON_FINISH_CONTENT_FILTER 6u /* a guard stopped it */

/* The numbers of an answer. The caller sets struct_size to sizeof; the library fills what fits. */
typedef struct cabochon_generation_summary {
    size_t struct_size;
    uint32_t finish_reason;   /* CABOCHON_FINISH_* */
    uint32_t prompt_tokens;   /* tokens of the prompt that were read */
    uint32_t decode_tokens;   /* tokens of the answer; with a guard, all that were made, handed on or not */
    int32_t stop_token;       /* the id that ended it, with FINISH_EOS; else -1 */
    uint64_t seed;            /* the one that was used */
    uint64_t prompt_nanoseconds; /* until the first token was chosen */
    uint64_t decode_nanoseconds; /* from there to the end */
    uint32_t guessed_tokens;     /* with a draft or PROMPT_LOOKUP: tokens guessed, */
    uint32_t accepted_tokens;    /* and those of them that held */
    uint64_t guard_nanoseconds;  /* for which checks of the answer by a guard ran, mostly beside its making */
} cabochon_generation_summary;

/* Reads `prompt`, then generates an answer token by token. Afterwards the session holds the prompt
 * and the answer. Generating again without a prompt goes on where it ended, as if it had not; with
 * the tokens of cabochon_model_render_turn, the conversation goes on. Without a prompt, interventions
 * read the session's last token again: they act there, and what they watch begins with it.
 *   prompt         prompt_count ids; 0 (and NULL) to go on from what the session holds.
 *   options        NULL for all defaults.
 *   on_token       called for each token, on this thread; NULL for none.
 *   out_generation receives the answer, owned by the caller; NULL if it is not wanted.
 * Blocks; can be cancelled. Returns INVALID_ARGUMENT for an option or id out of range, for nothing
 * to go on from, or where logit_bias and penalties make the largest logit infinite, as by forbidding
 * every token, UNSUPPORTED_OPTION, INVALID_UTF8, CONTEXT_EXCEEDED if the prompt does not fit (with both
 * numbers), UNSUPPORTED where the largest logit is not a finite number before that, because weights are
 * not or interventions go too far, CANCELLED, BACKEND, FORKED. The session then stands as before the
 * call, though callbacks may have been made. */
cabochon_status cabochon_session_generate(cabochon_session *session, const int32_t *prompt, size_t prompt_count,
                                          const cabochon_generation_options *options, cabochon_token_callback on_token,
                                          void *user_data, cabochon_generation **out_generation,
                                          cabochon_error **error);

/* The whole answer: UTF-8 of *out_len bytes (may be NULL), NUL-terminated, borrowed from the
 * generation. NULL if it is not a live generation. */
const char *cabochon_generation_text(const cabochon_generation *generation, size_t *out_len);

/* The answer's tokens, without one that ended it: *out_count ids, borrowed from the generation.
 * NULL if it is not a live generation. */
const int32_t *cabochon_generation_tokens(const cabochon_generation *generation, size_t *out_count);

/* The log-probability of each of those tokens, *out_count floats (0 if not asked for), borrowed
 * from the generation. NULL if it is not a live generation. */
const float *cabochon_generation_logprobs(const cabochon_generation *generation, size_t *out_count);

/* Fills `out_summary`, as far as its struct_size reaches. Returns INVALID_ARGUMENT if that is
 * smaller than the 1.0 struct. */
cabochon_status cabochon_generation_get_summary(const cabochon_generation *generation,
                                                cabochon_generation_summary *out_summary, cabochon_error **error);

/* Adds a reference and returns the generation; NULL if it is not a live generation. */
cabochon_generation *cabochon_generation_retain(const cabochon_generation *generation);

/* Gives a reference back. NULL is a no-op. */
void cabochon_generation_free(cabochon_generation *generation);

/* ---- Guard: moderation ----------------------------------------------------------------------- */

/* A ShieldGemma model and the template it is asked with: does a prompt, or a response to one,
 * violate a policy? Immutable; any number of threads may use one guard, and any number of guards one
 * model. */
typedef struct cabochon_guard cabochon_guard;

/* Bits of cabochon_guard_options.flags. */
#define CABOCHON_GUARD_SHORTEN 1u /* content that does not fit the context loses its middle */

typedef struct cabochon_guard_options {
    size_t struct_size;
    /* Which of the published texts goes around the content: "hf" (what transformers'
     * apply_chat_template gives), "paper" (arXiv 2407.21772, figure 2) or "cookbook" (Google's
     * notebook); or "custom". Scores of different templates do not compare. NULL: "hf". */
    const char *template_name;
    /* With "custom": the text for prompts, with {prompt} and {policy} once each, and the one for
     * responses, with {prompt}, {response} and {policy}. bos goes in front by itself; control pieces
     * that the templates spell count as such, those in content never do. Without a text for responses
     * (length 0) responses are refused. */
    cabochon_text prompt_template;
    cabochon_text response_template;
    /* CABOCHON_GUARD_*. */
    uint32_t flags;
    /* Tokens of several rows that are worked on together: more is faster up to some thousands, and
     * takes more memory. 0: 2048. */
    uint32_t token_budget;
} cabochon_guard_options;

/* As cabochon_engine_options_init. */
void cabochon_guard_options_init(cabochon_guard_options *options, size_t size);

/* A policy to check. */
typedef struct cabochon_guard_policy {
    /* What it is called. */
    cabochon_text name;
    /* The principle in the words that the model reads, in any language. Length 0: the policy of this
     * name that Cabochon knows: "dangerous_content", "harassment", "hate_speech" and
     * "sexually_explicit", which ShieldGemma was trained on, or "violence" and "obscenity". These have
     * one wording for prompts and one for responses. */
    cabochon_text text;
} cabochon_guard_policy;

/* Bits of cabochon_verdict.flags. */
#define CABOCHON_VERDICT_SHORTENED 1u /* the content has lost its middle */

/* What a guard says of one policy. There is no official threshold: the best one differs by data set
 * and policy. */
typedef struct cabochon_verdict {
    double score;    /* the probability of "Yes", it violates the policy, against "No" */
    float yes_logit; /* after the final softcap */
    float no_logit;
    uint32_t token_count; /* of the text that the model read */
    uint32_t flags;       /* CABOCHON_VERDICT_* */
    /* "hf", "paper", "cookbook" or "custom"; valid as long as the process. */
    const char *template_name;
    uint64_t reserved_;
} cabochon_verdict;

/* Makes a guard.
 *   model     a ShieldGemma model (any Gemma answers, but means little by it); kept alive.
 *   options   NULL for all defaults.
 *   out_guard receives the guard, owned by the caller.
 * Returns INVALID_ARGUMENT for an unknown template, a custom one with a place missing, or a
 * vocabulary-only model, UNSUPPORTED for a vocabulary without "Yes" and "No", UNSUPPORTED_OPTION,
 * INVALID_UTF8, FORKED. */
cabochon_status cabochon_guard_create(const cabochon_model *model, const cabochon_guard_options *options,
                                      cabochon_guard **out_guard, cabochon_error **error);

/* Adds a reference and returns the guard; NULL if it is not a live guard. */
cabochon_guard *cabochon_guard_retain(const cabochon_guard *guard);

/* Gives a reference back. NULL is a no-op. */
void cabochon_guard_free(cabochon_guard *guard);

/* Policies that are checked when a call names none: the four that ShieldGemma was trained on. 0 if
 * `guard` is not a live guard. */
size_t cabochon_guard_policy_count(const cabochon_guard *guard);

/* The name of policy `index`, and its wording for prompts: NUL-terminated, borrowed from the guard.
 * NULL beyond the count, or if `guard` is not a live guard. */
const char *cabochon_guard_policy_name(const cabochon_guard *guard, size_t index);
const char *cabochon_guard_policy_text(const cabochon_guard *guard, size_t index);

/* Judges a prompt, or a response to it. The policies' common part is computed once.
 *   prompt       prompt_len bytes.
 *   response     NULL judges the prompt. Otherwise the response is judged, also an empty one, and the
 *                policies have their wording for responses.
 *   policies     policy_count of them; 0 (and NULL) for the guard's own.
 *   verdicts     one for each policy, in their order. Two-call: *inout_len counts verdicts.
 * Blocks; can be cancelled. Returns INVALID_ARGUMENT for an unknown policy, two of one name, or a
 * response to a template without a text for it, INVALID_UTF8, CONTEXT_EXCEEDED with both numbers
 * (unless content may be shortened), UNSUPPORTED where the logits are not finite numbers, so that there
 * is no score, BUFFER_TOO_SMALL, CANCELLED, BACKEND, FORKED. */
cabochon_status cabochon_guard_classify(const cabochon_guard *guard, const char *prompt, size_t prompt_len,
                                        const char *response, size_t response_len,
                                        const cabochon_guard_policy *policies, size_t policy_count,
                                        cabochon_verdict *verdicts, size_t *inout_len, cabochon_error **error);

/* One row of many. `response` NULL judges the prompt. */
typedef struct cabochon_guard_row {
    const char *prompt;
    size_t prompt_len;
    const char *response;
    size_t response_len;
} cabochon_guard_row;

/* Called once for each row, in order: with its verdicts, one for each policy, and `error` NULL; or,
 * for a row that cannot be judged, with no verdicts and the reason. All pointers are borrowed for the
 * call. 0 goes on; anything else ends the work after this row. */
typedef int32_t (*cabochon_guard_row_callback)(void *user_data, size_t row, const cabochon_verdict *verdicts,
                                               size_t verdict_count, const cabochon_error *error);

/* Judges many rows, which share the weights' way through the processor. A row with bytes that are not
 * UTF-8, or too long for the context or for memory, is told as such, and the others go on.
 *   rows      row_count of them.
 *   policies  as for cabochon_guard_classify.
 *   on_row    must not be NULL; called on this thread.
 * Blocks; can be cancelled, and on_row can end it: rows told until then have been judged. Returns
 * INVALID_ARGUMENT for the policies, INVALID_UTF8 for theirs, UNSUPPORTED where logits are not finite,
 * CANCELLED, BACKEND, FORKED. */
cabochon_status cabochon_guard_classify_rows(const cabochon_guard *guard, const cabochon_guard_row *rows,
                                             size_t row_count, const cabochon_guard_policy *policies,
                                             size_t policy_count, cabochon_guard_row_callback on_row, void *user_data,
                                             cabochon_error **error);

/* The tokens that a verdict is read after, bos first. Two-call.
 *   policy   must not be NULL.
 * Returns what cabochon_guard_classify does for one policy. */
cabochon_status cabochon_guard_render(const cabochon_guard *guard, const char *prompt, size_t prompt_len,
                                      const char *response, size_t response_len, const cabochon_guard_policy *policy,
                                      int32_t *ids, size_t *inout_len, cabochon_error **error);

/* The probability of "Yes" against "No" after id_count tokens, whatever they are. Blocks; can be
 * cancelled. Returns INVALID_ARGUMENT for no ids or one out of range, CONTEXT_EXCEEDED, UNSUPPORTED where
 * the logits are not finite, CANCELLED, BACKEND, FORKED. */
cabochon_status cabochon_guard_score(const cabochon_guard *guard, const int32_t *ids, size_t id_count,
                                     double *out_score, cabochon_error **error);

/* Asks all calls of cabochon_guard_classify, _classify_rows and _score that are running on this
 * handle to stop; they do so within one layer and return CABOCHON_ERROR_CANCELLED, also those that have
 * nothing left to compute. Guards cost next to nothing: what must be stopped apart from the rest gets one
 * of its own. Any thread, any time, and in signal handlers: it takes no lock. A request that comes when no
 * call is running stops the next one. Does not reach cabochon_guard_generate, which its session's
 * cancellation stops. A no-op if `guard` is not a live guard, or is being freed. */
void cabochon_guard_cancel(const cabochon_guard *guard);

/* Values of cabochon_guarding_options.mode. */
#define CABOCHON_GUARDING_DEFAULT 0u /* the same as HOLD */
#define CABOCHON_GUARDING_HOLD 1u    /* nothing is handed on before the whole answer is checked */
#define CABOCHON_GUARDING_WINDOW 2u  /* checked every `interval` tokens, handed on behind the check */
#define CABOCHON_GUARDING_AUDIT 3u   /* handed on at once, checked every `interval` tokens, never stopped */

/* Bits of cabochon_guarding_options.flags. */
#define CABOCHON_GUARDING_SKIP_PROMPT 1u /* judge the answer only */

/* Told of each check, on the thread of the call: of the prompt (is_answer 0), or of the answer's first
 * answer_tokens tokens, up to `interval` tokens after the last of these was made. Verdicts are in the
 * policies' order, borrowed for the call. */
typedef void (*cabochon_guarding_callback)(void *user_data, int32_t is_answer, size_t answer_tokens,
                                           const cabochon_verdict *verdicts, size_t verdict_count);

typedef struct cabochon_guarding_options {
    size_t struct_size;
    /* CABOCHON_GUARDING_*. */
    uint32_t mode;
    /* Tokens from one check of the answer to the next. 0: 16; but with HOLD, only one at the end. */
    uint32_t interval;
    /* CABOCHON_GUARDING_SKIP_PROMPT. */
    uint32_t flags;
    uint32_t reserved_; /* zero */
    /* policy_count of them; 0 (and NULL) for the guard's own. */
    const cabochon_guard_policy *policies;
    size_t policy_count;
    /* The score from which on each policy counts as violated: threshold_count numbers in the policies'
     * order, one for each; or one for all. AUDIT needs none. There is no default. */
    const double *thresholds;
    size_t threshold_count;
    /* NULL for none. */
    cabochon_guarding_callback on_check;
} cabochon_guarding_options;

/* As cabochon_engine_options_init. */
void cabochon_guarding_options_init(cabochon_guarding_options *options, size_t size);

/* As cabochon_session_generate, with a guard that judges the prompt before and the answer while it is
 * made. The session's model may be the guard's own, or another. An answer that violates a policy ends
 * with CABOCHON_FINISH_CONTENT_FILTER and what was handed on until then, which is also what the
 * session keeps of it; so is what it keeps where on_token ends the answer; after a refused prompt the
 * session is as before. on_token is called later by what is held back.
 * Where the models' engines have two threads or more, a check runs on a thread of the library's own
 * while the answer goes on, for `interval` tokens at the most, and what was made past a violation is
 * thrown away; no callback comes from that thread, and it has ended when this returns.
 * With watched features, checks and tokens take turns.
 *   prompt       prompt_count ids for the session.
 *   prompt_text  what the user asked, prompt_text_len bytes: it is judged, and the answer with it.
 *   guarding     must not be NULL: thresholds have no default.
 * Blocks; cancelling the session cancels the checks, too. Returns what cabochon_session_generate and
 * cabochon_guard_classify do, and INVALID_ARGUMENT for a policy without a threshold, or one that is NaN. */
cabochon_status cabochon_guard_generate(const cabochon_guard *guard, cabochon_session *session, const int32_t *prompt,
                                        size_t prompt_count, const char *prompt_text, size_t prompt_text_len,
                                        const cabochon_generation_options *options,
                                        const cabochon_guarding_options *guarding, cabochon_token_callback on_token,
                                        void *user_data, cabochon_generation **out_generation, cabochon_error **error);

/* The name of the policy for which a guard stopped the answer: NUL-terminated, borrowed from the
 * generation. NULL if none did, or if it is not a live generation. */
const char *cabochon_generation_filter_policy(const cabochon_generation *generation);

#ifdef __cplusplus
}
#endif

#endif
