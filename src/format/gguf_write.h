/* SPDX-License-Identifier: Apache-2.0
 * Writes GGUF v3: collects metadata and tensors, then gives the bytes before the tensors' data and
 * where each tensor's data lies. Writes no file itself. Out of memory is sticky: check `failed` once
 * at the end. */
#ifndef PUM_GGUF_WRITE_H
#define PUM_GGUF_WRITE_H

#include "gguf.h"

enum { PUM_GGUF_ALIGN = 32 }; /* of the tensors' data: the format's default, so no key says it */

typedef struct pum_gguf_writer {
    pum_text keys, tensors;
    uint64_t n_keys, n_tensors;
    uint64_t data_bytes; /* of all tensors so far, padding included */
    bool failed;
} pum_gguf_writer;

/* Metadata, in this order. */
void pum_gguf_put_u32(pum_gguf_writer *writer, const char *key, uint32_t value);
/* Copies key `index` of another file as it is. */
void pum_gguf_put_copy(pum_gguf_writer *writer, const pum_gguf *from, size_t index);
/* A tensor; its data begins *out_offset bytes behind the header. */
void pum_gguf_put_tensor(pum_gguf_writer *writer, pum_str name, uint32_t n_dims,
                         const uint64_t *ne, pum_dtype type, uint64_t *out_offset);
/* All bytes before the data, padded to PUM_GGUF_ALIGN; out->failed if there was no memory. */
void pum_gguf_header(const pum_gguf_writer *writer, pum_text *out);
void pum_gguf_writer_free(pum_gguf_writer *writer);

#endif
