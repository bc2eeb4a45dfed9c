/* SPDX-License-Identifier: Apache-2.0
 * A safetensors file, memory-mapped: a JSON header of names, types, shapes and ranges, then bytes.
 * The input is hostile; a fault is one sentence that names the file and the tensor. What open
 * guarantees: names are unique, every tensor lies within the file, is exactly as long as its type
 * and shape say (for the types known here) and shares no byte with another. Which tensors a model
 * needs is not decided here. Thread safety: immutable after open. */
#ifndef PUM_SAFETENSORS_H
#define PUM_SAFETENSORS_H

#include "dtype.h"
#include "name_index.h"

typedef struct pum_st pum_st;

enum { PUM_ST_MAX_DIMS = 8 };

typedef struct pum_st_tensor {
    pum_str name;         /* NUL-terminated too */
    char dtype[12];       /* as the file says, such as "BF16" */
    bool is_weight;       /* F32, F16 or BF16 */
    pum_dtype type;       /* if it is_weight */
    uint32_t n_dims;      /* 0 = a single number */
    uint64_t shape[PUM_ST_MAX_DIMS]; /* outermost first, as the file says */
    uint64_t elems, bytes;
    const uint8_t *data;  /* in the mapped file, unaligned */
} pum_st_tensor;

pumice_status pum_st_open(const char *path, pum_st **out_st, pumice_error *err);
/* The same from memory that the caller keeps alive; `name` is used in messages. */
pumice_status pum_st_open_memory(const void *data, size_t bytes, const char *name, pum_st **out_st,
                                 pumice_error *err);
void pum_st_close(pum_st **st);

const char *pum_st_path(const pum_st *st);
uint64_t pum_st_size_bytes(const pum_st *st);
size_t pum_st_count(const pum_st *st);
const pum_st_tensor *pum_st_at(const pum_st *st, size_t index);
const pum_st_tensor *pum_st_find(const pum_st *st, const char *name); /* NULL if absent */

#endif
