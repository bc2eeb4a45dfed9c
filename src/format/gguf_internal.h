/* SPDX-License-Identifier: Apache-2.0
 * What is behind a pum_gguf, for the files that make one: gguf.c from a file, gguf_split.c from
 * several, gguf_build.c from nothing. */
#ifndef PUM_GGUF_INTERNAL_H
#define PUM_GGUF_INTERNAL_H

#include "gguf.h"

typedef struct pum_gguf_kv {
    pum_str key;
    pum_gguf_value value;
} pum_gguf_kv;

struct pum_gguf {
    pum_file file; /* empty when the bytes are someone else's */
    const uint8_t *data;
    uint64_t size;
    char *path;
    uint32_t version;
    uint64_t alignment;
    pum_gguf_kv *kvs;
    pum_gguf_tensor *tensors;
    size_t n_kvs, n_tensors;
    pum_name_index kv_index, tensor_index;
    /* of those that are built */
    size_t kvs_capacity, tensors_capacity;
    pum_arena arena; /* keys, values, names, parts, small tensors */
    void *owner; /* of what the tensors point into; released last */
    void (*release)(void *owner);
};

pum_str pum_gguf_kv_name(const void *gguf, size_t index);
pum_str pum_gguf_tensor_name(const void *gguf, size_t index);
uint32_t pum_gguf_value_bytes(pum_gguf_type type); /* 0 = variable */

#endif
