/* CabochonShims.h - the few things that Swift cannot do: allocate and be told no, map a file,
 * ask the processor what it is, load a plugin without running its code first. */
#ifndef CABOCHON_SHIMS_H
#define CABOCHON_SHIMS_H

#include <stddef.h>
#include <stdint.h>

/* `bytes` of zeroed memory aligned to 64, or NULL. Sizes from files and callers come here only:
 * Swift's own allocation aborts the process when it fails. Freed with cabochon_shim_free. */
void *cabochon_shim_allocate(size_t bytes);
/* Zeroed memory that takes physical pages only where it is touched: KV caches and packed weights.
 * wants_huge_pages: 1 for what is read from end to end (packed weights), 0 for what is touched
 * here and there, where a huge page would cost two megabytes for a few kilobytes (KV caches).
 * Freed with cabochon_shim_release_pages and the same size. NULL if refused. */
void *cabochon_shim_reserve_pages(size_t bytes, int wants_huge_pages);
void cabochon_shim_release_pages(void *memory, size_t bytes);
void cabochon_shim_free(void *memory);

void cabochon_shim_unmap_file(const void *data, size_t size);
/* Tells the kernel that the pages inside this range of a mapping will not be read soon. */
void cabochon_shim_forget_pages(const void *data, size_t size);

/* What tells one state of a file from another. `modified` is in nanoseconds since 1970. */
typedef struct cabochon_file_identity {
    uint64_t device, inode, size;
    int64_t modified;
} cabochon_file_identity;

/* Files by descriptor. All return 0 or errno. */
int cabochon_shim_open_file(const char *path, int *out_descriptor);
/* A new file that is to take the place of `path`, in the same folder, with `mode` less the umask. It has no
 * name, and goes with its last descriptor and mapping unless it is published; then `name` receives "". On
 * file systems that have no such files it has a name of its own, for the caller to unlink. */
int cabochon_shim_create_beside(const char *path, unsigned mode, int *out_descriptor, char *name, size_t name_size);
/* Takes the disk's room for `size` > 0 bytes, which are zeros: ENOSPC comes now or never. */
int cabochon_shim_reserve(int descriptor, size_t size);
/* Gives a file of cabochon_shim_create_beside its place, whatever has it, once its bytes are on the disk. */
int cabochon_shim_publish(int descriptor, const char *temporary, const char *path);
/* EINVAL for what is no regular file, EISDIR for a folder. */
int cabochon_shim_describe(int descriptor, cabochon_file_identity *out_identity);
/* Maps `size` > 0 bytes read-only; undone with cabochon_shim_unmap_file. */
int cabochon_shim_map_descriptor(int descriptor, size_t size, const void **out_data);
/* Exactly `count` bytes; EIO where the file ends before. Any thread. */
int cabochon_shim_read_at(int descriptor, void *bytes, size_t count, uint64_t offset);
int cabochon_shim_write_at(int descriptor, const void *bytes, size_t count, uint64_t offset);
/* Asks for a range to be read into the page cache in the background. */
void cabochon_shim_will_read(int descriptor, uint64_t offset, uint64_t count);
void cabochon_shim_close(int descriptor);
/* mkdir -p, for the owner alone. */
int cabochon_shim_make_folders(const char *path);

/* What the processor and the kernel together allow, as CABOCHON_CPU_ bits of cabochon/backend.h. */
uint64_t cabochon_shim_cpu_features(void);

/* dlopen(RTLD_NOW | RTLD_LOCAL) and dlsym of one data symbol. On failure NULL, with the loader's
 * words in `message` (cut to `message_size`, NUL-terminated). Never unloaded. */
const void *cabochon_shim_load_symbol(const char *path, const char *symbol, char *message, size_t message_size);
/* The path of the library or program that holds this code, as it was loaded. Returns its length, 0 if unknown. */
size_t cabochon_shim_own_path(char *path, size_t path_size);
/* Whether that file is this user's. 0 if unknown. */
int cabochon_shim_owns_own_file(uint32_t user);
/* getenv that answers NULL in a set-uid or set-gid program. */
const char *cabochon_shim_secure_environment(const char *name);

/* Processors that a thread may run on. */
typedef struct cabochon_processor_set {
    uint32_t count;     /* at least 1 */
    uint64_t words[16]; /* a bit for each of the first 1024; none where the system has more */
} cabochon_processor_set;

/* Those of the calling thread. */
cabochon_processor_set cabochon_shim_processors(void);
/* Starts a thread on these, with all signals blocked; 0 or errno. Joined with cabochon_shim_join_thread, by
 * the process that started it: glibc gives its name to another thread in a child of fork(). */
int cabochon_shim_start_thread(void (*body)(void *), void *context, cabochon_processor_set processors,
                               uint64_t *out_thread);
void cabochon_shim_join_thread(uint64_t thread);
/* Lets another thread run on this processor. */
void cabochon_shim_yield(void);
/* The process's own locks. fork() waits for them, so that no child inherits one that a thread which it does not have
 * holds. Not to be taken in signal handlers, nor one inside the other. */
enum { CABOCHON_LOCK_HANDLES, CABOCHON_LOCK_BACKENDS, CABOCHON_LOCK_COUNT };
void cabochon_shim_lock(int lock);
void cabochon_shim_unlock(int lock);
/* Has body(context) called in each child of fork(), which has one thread, with all of these locks held. Once. */
void cabochon_shim_after_fork(void (*body)(void *), void *context);
/* Sleeps while *word == expected (futex); wakes all sleepers on word. */
void cabochon_shim_wait(const uint32_t *word, uint32_t expected);
void cabochon_shim_wake_all(const uint32_t *word);
/* The word that waiters sleep on, read and written in sequentially consistent order: a sleeper that
 * counts itself before its last look can't miss a store that looked for sleepers after it. */
static inline uint32_t cabochon_shim_load_word(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline void cabochon_shim_store_word(uint32_t *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}
uint64_t cabochon_shim_nanoseconds(void);
/* Relaxes the processor inside a spin loop. AArch64's yield does nothing on most processors; isb takes some ten
 * nanoseconds, as x86's pause does. */
static inline void cabochon_shim_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

#endif
