/* SPDX-License-Identifier: Apache-2.0
 * Storage types of tensors, generated from dtype.def. Sizes only: the bit layouts are in
 * shaders/lib/quant/ (device) and ref/ (host truth). Pure; thread-safe. */
#ifndef PUM_DTYPE_H
#define PUM_DTYPE_H

#include "base.h"

typedef enum pum_dtype {
#define PUM_DTYPE(id, name, gguf, elems, bytes, weight, kv) PUM_DTYPE_##id,
#include "dtype.def"
#undef PUM_DTYPE
    PUM_DTYPE_COUNT
} pum_dtype;

typedef struct pum_dtype_info {
    const char *name;
    int32_t gguf_type;
    uint32_t block_elems, block_bytes;
    bool is_weight, is_kv;
} pum_dtype_info;

const pum_dtype_info *pum_dtype_get(pum_dtype type); /* NULL when out of range */
/* Finds a type by its ggml number; false if there is no row for it. */
bool pum_dtype_from_gguf(uint32_t gguf_type, pum_dtype *out_type);
/* Finds a type by name, ignoring case; false if unknown. */
bool pum_dtype_from_name(const char *name, pum_dtype *out_type);
/* Bytes of a row of `cols` elements; false when cols is not a whole number of blocks or on overflow. */
bool pum_dtype_row_bytes(pum_dtype type, uint64_t cols, uint64_t *out_bytes);

#endif
