/* SPDX-License-Identifier: Apache-2.0
 * How large a model is, from names and shapes alone: also for architectures that do not run here,
 * and for a config.json without weights. Pure. */
#ifndef PUM_SIZES_H
#define PUM_SIZES_H

#include "gguf.h"

typedef struct pum_sizes {
    uint64_t parameters;       /* learned numbers; a head tied to the embedding counts once */
    uint64_t kv_per_token;     /* numbers of K and V that a token leaves behind, all layers */
    uint64_t kv_per_source;    /* those that a token of the encoder leaves for cross-attention */
    uint32_t n_ctx_train;
} pum_sizes;

void pum_sizes_measure(const pum_gguf *gguf, pum_sizes *out);

/* Bytes of all weights with the matrices stored as `type` (those whose rows are no whole number of
 * its blocks as F16, vectors as F32), and of those that one token needs: not the embedding table
 * unless it is the head too, and of experts only as many as are used. */
void pum_sizes_weights(const pum_gguf *gguf, pum_dtype type, uint64_t *out_bytes,
                       uint64_t *out_read_bytes);

#endif
