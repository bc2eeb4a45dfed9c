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

/* Tensors that files of the known converters hold beside the model's, without any effect. */
bool pum_sizes_ignored(pum_str name);

/* Is the tensor learned? Not so tables of rotary factors, the scales of whole quantized matrices, and
 * what BART's original keeps as a buffer. */
bool pum_sizes_is_parameter(const char *arch, pum_str name);

void pum_sizes_measure(const pum_gguf *gguf, pum_sizes *out);

/* What decides how much of a tensor a decoded token needs. */
typedef struct pum_decoding {
    uint32_t experts, experts_used; /* 0: there are none */
    bool tied;                      /* the embedding table is the head */
} pum_decoding;

/* Of the bytes (or operations) of a whole tensor those that one decoded token needs: nothing of the
 * embedding tables unless the one is the head too, of experts only as many as are used, and of an
 * encoder-decoder only what its decoder multiplies. */
uint64_t pum_sizes_decoding(const pum_decoding *d, pum_str name, uint64_t whole);

/* Bytes of all weights with the matrices stored as `type` (those whose rows are no whole number of
 * its blocks as F16, vectors as F32), and of those that one decoded token needs. */
void pum_sizes_weights(const pum_gguf *gguf, pum_dtype type, uint64_t *out_bytes,
                       uint64_t *out_read_bytes);

#endif
