/* SPDX-License-Identifier: Apache-2.0
 * GGUF v2 and v3 files, memory-mapped: bytes -> named, typed, bounds-checked ranges. The input is
 * hostile: every count, length, offset and type is checked against the file's size before use, and
 * a fault is one sentence that names the file and the field. Knows nothing of models. What open
 * guarantees, so that nobody checks it again: keys and tensor names are unique, printable UTF-8
 * without NUL; values and arrays lie within the file; tensors have 1 to 4 non-zero dimensions,
 * whole blocks per row, lie within the file at the file's alignment and share no byte.
 * String *values* may hold any bytes, NUL included.
 * Format: ggml's docs/gguf.md. Thread safety: immutable after open, so any thread may read. */
#ifndef PUM_GGUF_H
#define PUM_GGUF_H

#include "dtype.h"

typedef struct pum_gguf pum_gguf;

/* Metadata value types, numbered as in the file. */
typedef enum pum_gguf_type {
    PUM_GGUF_U8, PUM_GGUF_I8, PUM_GGUF_U16, PUM_GGUF_I16, PUM_GGUF_U32, PUM_GGUF_I32, PUM_GGUF_F32,
    PUM_GGUF_BOOL, PUM_GGUF_STRING, PUM_GGUF_ARRAY, PUM_GGUF_U64, PUM_GGUF_I64, PUM_GGUF_F64,
    PUM_GGUF_TYPE_COUNT
} pum_gguf_type;

typedef struct pum_str { /* a view into the mapped file: not NUL-terminated */
    const char *data;
    size_t count;
} pum_str;

typedef struct pum_gguf_value {
    pum_gguf_type type;
    pum_gguf_type item_type; /* of arrays */
    uint64_t count;          /* items of an array, else 1 */
    const uint8_t *data;     /* first byte of the payload (unaligned; for strings, of the length) */
} pum_gguf_value;

typedef struct pum_gguf_tensor {
    pum_str name;
    pum_dtype type;
    uint32_t n_dims;
    uint64_t ne[4]; /* ne[0] = columns (contiguous); unused dims are 1 */
    uint64_t bytes;
    const uint8_t *data; /* in the mapped file */
} pum_gguf_tensor;

/* Maps and checks a file. On failure *out_gguf is NULL and err says why. */
pumice_status pum_gguf_open(const char *path, pum_gguf **out_gguf, pumice_error *err);
/* The same from memory that the caller keeps alive (tests, fuzzing); `name` is used in messages. */
pumice_status pum_gguf_open_memory(const void *data, size_t bytes, const char *name,
                                   pum_gguf **out_gguf, pumice_error *err);
void pum_gguf_close(pum_gguf **gguf);
/* Has the system read the whole file soon, in the background. */
void pum_gguf_prefetch(const pum_gguf *gguf);

const char *pum_gguf_path(const pum_gguf *gguf);
uint32_t pum_gguf_version(const pum_gguf *gguf);
uint64_t pum_gguf_size_bytes(const pum_gguf *gguf);
const char *pum_gguf_type_name(pum_gguf_type type); /* "u8" ... "array"; never NULL */

/* Metadata. Keys in file order; find is by hash. */
size_t pum_gguf_kv_count(const pum_gguf *gguf);
pum_str pum_gguf_kv_key(const pum_gguf *gguf, size_t index);
const pum_gguf_value *pum_gguf_kv_at(const pum_gguf *gguf, size_t index);
const pum_gguf_value *pum_gguf_find(const pum_gguf *gguf, const char *key); /* NULL if absent */

/* Typed reads with conversion between integer widths when the value fits, and between float widths.
 * false (and *out untouched) if absent or of another kind. */
bool pum_gguf_u32(const pum_gguf *gguf, const char *key, uint32_t *out);
bool pum_gguf_i32(const pum_gguf *gguf, const char *key, int32_t *out);
bool pum_gguf_u64(const pum_gguf *gguf, const char *key, uint64_t *out);
bool pum_gguf_f32(const pum_gguf *gguf, const char *key,
                  float *out); /* integers are accepted too */
bool pum_gguf_bool(const pum_gguf *gguf, const char *key, bool *out);
bool pum_gguf_str(const pum_gguf *gguf, const char *key, pum_str *out);
/* Items: false unless the array has that kind of items (integers convert) and index < count. */
bool pum_gguf_item_str(const pum_gguf_value *array, uint64_t index, pum_str *out); /* O(index) */
bool pum_gguf_item_i64(const pum_gguf_value *array, uint64_t index, int64_t *out);
bool pum_gguf_item_f64(const pum_gguf_value *array, uint64_t index, double *out);
/* Walks a string array in order: start with *cursor = NULL; false at its end. O(n) in all. */
bool pum_gguf_next_str(const pum_gguf_value *array, const uint8_t **cursor, uint64_t *index,
                       pum_str *out);

/* Tensors, in file order. */
size_t pum_gguf_tensor_count(const pum_gguf *gguf);
const pum_gguf_tensor *pum_gguf_tensor_at(const pum_gguf *gguf, size_t index);
const pum_gguf_tensor *pum_gguf_tensor_find(const pum_gguf *gguf,
                                            const char *name); /* NULL if absent */

bool pum_str_equal(pum_str s, const char *text);

#endif
