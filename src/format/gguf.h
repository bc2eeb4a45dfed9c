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
#include "name_index.h"

typedef struct pum_gguf pum_gguf;

/* Metadata value types, numbered as in the file. */
typedef enum pum_gguf_type {
    PUM_GGUF_U8, PUM_GGUF_I8, PUM_GGUF_U16, PUM_GGUF_I16, PUM_GGUF_U32, PUM_GGUF_I32, PUM_GGUF_F32,
    PUM_GGUF_BOOL, PUM_GGUF_STRING, PUM_GGUF_ARRAY, PUM_GGUF_U64, PUM_GGUF_I64, PUM_GGUF_F64,
    PUM_GGUF_TYPE_COUNT
} pum_gguf_type;

typedef struct pum_gguf_value {
    pum_gguf_type type;
    pum_gguf_type item_type; /* of arrays */
    uint64_t count;          /* items of an array, else 1 */
    const uint8_t *data;     /* first byte of the payload (unaligned; for strings, of the length) */
} pum_gguf_value;

/* Some rows of a tensor whose rows lie elsewhere in another order. Row r of the part is split into
 * four digits, the last the fastest: size[k] is how many values digit k + 1 has. Its element c lies
 * at first + sum of digit * stride + c * col_stride of the source, and `add` is added to it. */
typedef struct pum_gguf_part {
    const uint8_t *data; /* the source's first element (unaligned) */
    pum_dtype type;      /* F32, F16 or BF16 */
    uint64_t elems;      /* of the source */
    uint64_t rows;       /* of the tensor that this part gives */
    uint64_t first, size[3], stride[4], col_stride;
    float add;
} pum_gguf_part;

typedef struct pum_gguf_tensor {
    pum_str name;
    pum_dtype type;
    uint32_t n_dims;
    uint64_t ne[4]; /* ne[0] = columns (contiguous); unused dims are 1 */
    uint64_t bytes;
    const uint8_t *data; /* in the mapped file; NULL: the rows must be read, or there are none */
    const pum_gguf_part *parts; /* where rows come from that must be read */
    uint32_t n_parts;
} pum_gguf_tensor;

/* Maps and checks a file. On failure *out_gguf is NULL and err says why. */
pumice_status pum_gguf_open(const char *path, pum_gguf **out_gguf, pumice_error *err);
/* The same from memory that the caller keeps alive (tests, fuzzing); `name` is used in messages. */
pumice_status pum_gguf_open_memory(const void *data, size_t bytes, const char *name,
                                   pum_gguf **out_gguf, pumice_error *err);
void pum_gguf_close(pum_gguf **gguf);
/* Makes one of a model that is split over several files; `first` is taken over, also on failure.
 * One that is not split comes back as it is. */
pumice_status pum_gguf_join(pum_gguf **first, pum_gguf **out_gguf, pumice_error *err);
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

/* Tensors, in file order. Those of a file have `data`; those of a model in another form may have
 * parts instead, and those of a model without weights neither. */
size_t pum_gguf_tensor_count(const pum_gguf *gguf);
const pum_gguf_tensor *pum_gguf_tensor_at(const pum_gguf *gguf, size_t index);
const pum_gguf_tensor *pum_gguf_tensor_find(const pum_gguf *gguf,
                                            const char *name); /* NULL if absent */
/* Copies rows as the tensor's type stores them, rearranged if need be; rows are counted over all
 * dimensions but the first. Fails with INVALID for rows that are not there, with FORMAT if the
 * model came without weights. */
pumice_status pum_gguf_read_rows(const pum_gguf_tensor *tensor, uint64_t row_first, uint64_t rows,
                                 void *out, pumice_error *err);

/* ---- one that is built in memory (gguf_build.c): create, put keys, add tensors, seal ---- */

/* `name` stands in messages. `owner` (may be NULL) is released when the object is closed: what the
 * tensors' bytes belong to. On failure it is released at once. */
pumice_status pum_gguf_create(const char *name, void *owner, void (*release)(void *owner),
                              pum_gguf **out_gguf, pumice_error *err);
/* Names and values are copied. Out of memory is sticky and told by seal, as is a key that is put
 * twice. */
void pum_gguf_set_u32(pum_gguf *gguf, const char *key, uint32_t value);
void pum_gguf_set_i32(pum_gguf *gguf, const char *key, int32_t value);
void pum_gguf_set_u64(pum_gguf *gguf, const char *key, uint64_t value);
void pum_gguf_set_f32(pum_gguf *gguf, const char *key, float value);
void pum_gguf_set_bool(pum_gguf *gguf, const char *key, bool value);
void pum_gguf_set_str(pum_gguf *gguf, const char *key, pum_str value);
void pum_gguf_set_text(pum_gguf *gguf, const char *key, const char *value);
/* Items of a fixed size, as this machine has them. */
void pum_gguf_set_array(pum_gguf *gguf, const char *key, pum_gguf_type item_type,
                        const void *items, uint64_t count);
void pum_gguf_set_strs(pum_gguf *gguf, const char *key, const pum_str *items, uint64_t count);
/* Copies a value from another object. */
void pum_gguf_set_value(pum_gguf *gguf, const char *key, const pum_gguf_value *value);

/* Adds a tensor of ne[0] columns whose rows come from `parts` (copied; the sources stay the
 * owner's), in order; without parts the tensor has a shape and no bytes. Its type is the parts', or
 * F32. */
pumice_status pum_gguf_add_tensor(pum_gguf *gguf, const char *name, pum_dtype type, uint32_t n_dims,
                                  const uint64_t *ne, const pum_gguf_part *parts, uint32_t n_parts,
                                  pumice_error *err);
/* Adds a vector; the values are copied. */
pumice_status pum_gguf_add_f32(pum_gguf *gguf, const char *name, const float *values, uint64_t count,
                               pumice_error *err);
/* Makes keys and tensors findable; nothing may be added after it. Fails with HOST_MEMORY, or with
 * FORMAT for a name that is there twice. */
pumice_status pum_gguf_seal(pum_gguf *gguf, pumice_error *err);

#endif
