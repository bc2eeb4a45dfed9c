/* SPDX-License-Identifier: Apache-2.0
 * base/: what every other folder may use and that knows nothing of them: status and error text,
 * log, allocation, arena, growing arrays, hash, clock, mapped files, locks. No global state. */
#ifndef PUM_BASE_H
#define PUM_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pumice/pumice.h>

#if defined(__GNUC__)
#define PUM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define PUM_PRINTF(fmt, args)
#endif

enum { PUM_PAGE_BYTES = 4096 }; /* what files are mapped and memory is shared in, or a part of it */

#define PUM_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PUM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define PUM_MAX(a, b) ((a) > (b) ? (a) : (b))

static inline uint64_t pum_ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
static inline uint64_t pum_align_up(uint64_t a, uint64_t to) { return pum_ceil_div(a, to) * to; }

/* a*b and a+b into *out; false on overflow of 64 bits. For sizes that come from files. */
bool pum_mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool pum_add_u64(uint64_t a, uint64_t b, uint64_t *out);

/* ---- errors: the place that detects a fault calls pum_fail once, with context; callers pass it on
 * ---- */

/* Fills err (may be NULL) with status and one sentence and returns status. The first fault wins: an
 * err that already holds one is left as it is. */
pumice_status pum_fail(pumice_error *err, pumice_status status, const char *fmt, ...)
    PUM_PRINTF(3, 4);
void pum_error_clear(pumice_error *err);
/* Puts a file or folder before the sentence of a fault that its reader found: "PLACE: sentence". Of a
 * long path the end is kept. Only what a file's content can be blamed for gets it. */
pumice_status pum_error_place(pumice_error *err, pumice_status status, const char *place);

/* Returns from the calling function if expr is not PUMICE_OK (for functions with nothing to clean
 * up). */
#define PUM_TRY(expr)                                                                              \
    do {                                                                                           \
        pumice_status pum_try_ = (expr);                                                           \
        if (pum_try_ != PUMICE_OK) return pum_try_;                                                \
    } while (0)
/* Sets `status` and jumps to `fail` if expr is not PUMICE_OK (for functions with one cleanup
 * label). */
#define PUM_GOTO(expr)                                                                             \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != PUMICE_OK) goto fail;                                                        \
    } while (0)

/* ---- log ---- */
typedef struct pum_log {
    pumice_log_fn fn; /* NULL = silent */
    void *user;
} pum_log;
void pum_log_write(const pum_log *log, pumice_log_level level, const char *fmt, ...)
    PUM_PRINTF(3, 4);

/* ---- memory: every allocation of the library goes through these; all may return NULL ---- */
void *pum_alloc(size_t bytes);                          /* zeroed; bytes 0 gives a valid pointer */
void *pum_alloc_array(size_t count, size_t item_bytes); /* zeroed; NULL on overflow too */
void *pum_realloc(void *p, size_t bytes); /* not zeroed; on NULL the old block lives on */
void pum_free(void *p);
char *pum_strdup(const char *s);
/* Lets the calling thread's heap grow at once by 8 MiB that are free, of large pages where there are any. For threads
 * that are about to call a driver, which opens and compiles in memory of that size: glibc's heaps of threads grow by a
 * page and a system call each time. */
void pum_heap_reserve(void);

/* A growing array of T: declare with PUM_ARRAY(T), zero-initialise, free with pum_array_free. */
#define PUM_ARRAY(T)                                                                               \
    struct {                                                                                       \
        T *data;                                                                                   \
        size_t count, capacity;                                                                    \
    }
/* Makes room for `more` items; false when out of memory (the array is unchanged). */
#define pum_array_reserve(a, more)                                                                 \
    pum_array_grow((void **)&(a)->data, &(a)->capacity, (a)->count + (more), sizeof(*(a)->data))
/* Appends item; false when out of memory. */
#define pum_array_push(a, item)                                                                    \
    (pum_array_reserve(a, 1) ? ((a)->data[(a)->count++] = (item), true) : false)
#define pum_array_free(a) (pum_free((a)->data), (a)->data = NULL, (a)->count = (a)->capacity = 0)
bool pum_array_grow(void **data, size_t *capacity, size_t need, size_t item_bytes);

/* An arena: many small allocations that die together. Out of memory is sticky: every later
 * allocation returns NULL and pum_arena_ok is false, so a pass may check once at its end. */
typedef struct pum_arena {
    struct pum_arena_block *head;
    bool failed;
} pum_arena;
void *pum_arena_alloc(pum_arena *arena, size_t bytes); /* zeroed, aligned to 16 */
char *pum_arena_strdup(pum_arena *arena, const char *s);
char *pum_arena_printf(pum_arena *arena, const char *fmt, ...) PUM_PRINTF(2, 3);
static inline bool pum_arena_ok(const pum_arena *arena) { return !arena->failed; }
void pum_arena_free(pum_arena *arena);

/* A growing text; out of memory is sticky (text.failed). */
typedef struct pum_text {
    char *data; /* NUL-terminated once anything was added */
    size_t count, capacity;
    bool failed;
} pum_text;
void pum_text_add(pum_text *text, const char *bytes, size_t count);
void pum_text_printf(pum_text *text, const char *fmt, ...) PUM_PRINTF(2, 3);
void pum_text_free(pum_text *text);

/* ---- hash: FNV-1a, 64 bits. Start with PUM_HASH_START. Not for hostile keys. ---- */
#define PUM_HASH_START 0xcbf29ce484222325ull
uint64_t pum_hash(uint64_t hash, const void *bytes, size_t count);

/* ---- clock ---- */
uint64_t pum_now_ns(void);        /* monotonic */
uint64_t pum_thread_cpu_ns(void); /* CPU time of the calling thread */

/* ---- files ---- */
/* A file mapped read-only. Zero-initialise; the address is stable until pum_file_unmap. */
typedef struct pum_file {
    const uint8_t *data;
    uint64_t size_bytes;
    void *handle;
} pum_file;
pumice_status pum_file_map(const char *path, pum_file *out_file, pumice_error *err);
void pum_file_unmap(pum_file *file);
/* Has the system read all of it soon, in the background; only a hint. */
void pum_file_prefetch(const pum_file *file);
/* Reads a mapped file's pages now, where the system can, so that they need not be waited for later; false: that cannot
 * be done, the file is shorter than it was or damaged. */
bool pum_memory_populate(const void *data, uint64_t bytes);
/* Asks for large pages behind memory that is about to be written for the first time, a hint: a page
 * fault costs more than to fill 4 KiB. Nothing happens to what is there, or where there are none. */
void pum_memory_large_pages(void *data, uint64_t bytes);
/* Reads a whole small file (at most max_bytes); *out_data is pum_free'd by the caller. */
pumice_status pum_file_read(const char *path, size_t max_bytes, uint8_t **out_data,
                            size_t *out_bytes, pumice_error *err);
/* Writes a file so that readers see the old or the new content, never a part (temporary + rename).
 */
pumice_status pum_file_write(const char *path, const void *data, size_t bytes, pumice_error *err);
bool pum_is_folder(const char *path);
bool pum_is_file(const char *path); /* or a link to one */
/* The alphabetically first name in a folder that a pattern of fnmatch(3) fits; false if there is none, the folder
 * cannot be read, or the name does not fit. */
bool pum_folder_find(const char *path, const char *pattern, char *out_name, size_t capacity);
/* A file that is written bit by bit and appears under its name only when it is committed.
 * Zero-initialise; discard is fine after commit and on a zeroed one. */
typedef struct pum_file_out {
    char *path, *temporary;
    void *handle;
} pum_file_out;
pumice_status pum_file_create(const char *path, pum_file_out *out_file, pumice_error *err);
pumice_status pum_file_append(pum_file_out *file, const void *data, size_t bytes,
                              pumice_error *err);
pumice_status pum_file_commit(pum_file_out *file, pumice_error *err);
void pum_file_discard(pum_file_out *file);
/* Creates a folder and its parents (mode 0700). */
pumice_status pum_folder_create(const char *path, pumice_error *err);
/* The user's cache folder for Pumice ($XDG_CACHE_HOME/pumice, else $HOME/.cache/pumice) into out;
 * false if neither variable is set. The only place that reads the environment. */
bool pum_cache_folder(char *out, size_t capacity);

/* ---- UTF-8 ---- */
/* Length in bytes (1..4) of the valid UTF-8 sequence at s, 0 if the bytes are not valid UTF-8, or
 * -1 if they are the valid beginning of a longer sequence cut off at `count`. */
int pum_utf8_length(const char *s, size_t count);

#endif
