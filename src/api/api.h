/* SPDX-License-Identifier: Apache-2.0
 * The objects behind the public handles, for api/ alone. Reference counts keep a parent alive until
 * its last child is destroyed; everything else here is reached through the inner layers. */
#ifndef PUM_API_H
#define PUM_API_H

#include <stdatomic.h>

#include "args.h"
#include "exec.h"
#include "model.h"
#include "plan.h"
#include "tokenizer.h"
#include "vk.h"

#include <pumice/pumice_profile.h>

struct pumice_device {
    atomic_uint references;
    pum_vk_device *vk;
    pum_tuning tuning;
    bool no_self_test;
};

struct pumice_model {
    atomic_uint references;
    pumice_device *device; /* NULL for vocab_only without a device */
    pum_gguf *gguf;
    pum_tokenizer *tokenizer; /* NULL: the model comes without one */
    pum_model_def def; /* empty for vocab_only */
    pum_placement placement;
    pum_vk_buffer *buffers; /* one per placement buffer */
    bool vocab_only;
    uint64_t open_ns, upload_ns; /* what loading took */
};

void pum_device_keep(pumice_device *device);
void pum_model_keep(pumice_model *model);
/* true for every token that ends a reply, by the tokenizer or by the model's own list. */
bool pum_model_ends(const pumice_model *model, int32_t token);

/* Clears *err, and checks a params struct's size: at least `least` bytes must be there. */
pumice_status pum_params_check(uint32_t struct_size, size_t least, const char *what,
                               pumice_error *err);
/* Copies a params struct of a maybe older caller into `out`, the rest zero. */
void pum_params_copy(void *out, size_t out_bytes, const void *params);

/* Lays out a model's weights for a device. */
pumice_status pum_weights_place(const pum_model_def *def, const pum_caps *caps, pum_placement *out,
                                pumice_error *err);
/* Lays out the KV caches of all layers for `pages` pages. */
pumice_status pum_kv_place(const pum_model_def *def, const pum_caps *caps, pum_dtype k, pum_dtype v,
                           uint64_t pages, pum_placement *out, pumice_error *err);
bool pum_kv_dtype(pumice_kv_type type, pum_dtype *out);

/* How large a session is, from its params and the model: shared by sessions and pumice_plan. */
typedef struct pum_session_size {
    uint32_t n_ctx, n_sequences, n_batch, logits_rows, pages_per_sequence;
    uint64_t logits_bytes; /* of the buffer, which also takes an encoder's output */
    uint64_t pages;
    pum_dtype kv_k, kv_v;
    pum_step_layout step;
} pum_session_size;
pumice_status pum_session_size_make(const pum_model_def *def, const pumice_session_params *params,
                                    pum_session_size *out, pumice_error *err);

#endif
