/* SPDX-License-Identifier: Apache-2.0
 * A stage: what a session has on one device. Its KV cache and buffers (stage.c), its passes:
 * planned, recorded and cached (pass.c). Knows no sequences: what they are is in the step buffer. A
 * session on one device has one; on several, each runs its layers and hands the rows on (ring.c).
 * One thread at a time. */
#ifndef PUM_STAGE_H
#define PUM_STAGE_H

#include "api.h"

/* What tells one recorded pass from another. */
typedef struct pum_pass_key {
    uint32_t rows, n_slots;
    bool one_sequence, encode;
    bool row_by_row; /* with decoding's pipelines */
    pum_head head;
    pum_sampler sampler;
} pum_pass_key;

typedef struct pum_pass {
    pum_pass_key key;
    pum_plan plan;
    pum_exec *exec;
    uint64_t last_use; /* 0 = empty place in the cache */
    bool proven;       /* its pipelines compute what they should, or nobody asked */
} pum_pass;

enum { PUM_PASS_CACHE = 12 };

typedef struct pum_stage {
    const pum_model_part *part;
    pum_vk_device *vk;
    pum_caps caps; /* the device's, with the kernels that it computes wrongly */
    pum_session_size size; /* the session's, but `step` grows by itself */
    pum_plan_options plan_options;
    bool profile;
    pumice_error *err;  /* where a failure is told */
    atomic_int *cancel; /* non-zero ends the pass that runs */

    const pum_placement *weights; /* where they are, or were when passes were last dropped */
    pum_placement kv_place;
    /* `logits` takes the hidden rows of a part that others go on with; `hidden` those that come */
    pum_vk_buffer *kv, arena, step, logits, hidden;
    pum_exec_buffers exec_buffers;
    uint32_t *words; /* the mapped step buffer */

    pum_pass passes[PUM_PASS_CACHE];
    uint64_t clock;
    pum_pass *last; /* the pass that ran last; NULL = none since it may have gone */
    uint64_t plan_ns, pipeline_ns, self_test_ns, busy_ns; /* the last: passes ran */
} pum_stage;

/* ---- stage.c ---- */
/* A stage to be created. `err` and `cancel` must outlive it. */
pum_stage pum_stage_for(const pum_model_part *part, const pum_session_size *size,
                        const pumice_session_params *params, atomic_int *cancel, pumice_error *err);
/* Makes its buffers. Destroy in any case. */
pumice_status pum_stage_create(pum_stage *stage);
void pum_stage_destroy(pum_stage *stage);
/* If the weights have come to where they stay, passes are made anew that use them there. No pass may be running;
 * pointers to passes become invalid. */
void pum_stage_settle(pum_stage *stage);
/* Whether that has nothing to do. */
bool pum_stage_is_settled(const pum_stage *stage);
uint64_t pum_stage_activation_bytes(const pum_stage *stage);
/* Copies pages of every layer's K and V: of the decoder's cache, or with `cross` of what the encoder
 * made. No pass may be running. */
typedef struct pum_page_copy {
    uint32_t from, to;
} pum_page_copy;
pumice_status pum_stage_copy_pages(pum_stage *stage, bool cross, const pum_page_copy *copies,
                                   size_t count);
/* Whether this part of a model has anything to do in the pass `key`: not if it only samples and another
 * part has the head, nor if it is the decoder's and the part has layers of the encoder alone. */
bool pum_stage_has_part(const pum_model_def *def, const pum_pass_key *key);
/* What the pass is on this part: without head and sampler unless it is the last. */
pum_pass_key pum_stage_key(const pum_model_def *def, const pum_pass_key *key);
/* Whether some pass begins with rows that another part made. */
static inline bool pum_stage_takes_rows(const pum_model_def *def)
{
    return def->first_layer || def->encoder.first_layer;
}

/* ---- pass.c ---- */
/* Whether the rows of a short prompt had better be computed row by row (key.row_by_row): where compiling for several at
 * once takes so long that this is done before. By predicted time, which says the same each time. */
bool pum_pass_goes_by_row(pum_stage *s, uint32_t rows);
/* Finds or makes (graph, plan, pipelines, command buffers) a pass. The pointer is valid until the
 * next call. */
pumice_status pum_pass_get(pum_stage *s, const pum_pass_key *key, pum_pass **out_pass);
/* Makes the step buffer hold at least so many batch rows, and the buffers of hidden rows. Block
 * tables are kept, rows and slots are not; recorded passes are dropped. */
pumice_status pum_pass_grow(pum_stage *s, uint32_t rows);
/* Both: the pass for `key` with room for its rows, more than a batch only where `what` ("a prefix")
 * needs it. */
pumice_status pum_pass_get_large(pum_stage *s, const pum_pass_key *key, const char *what,
                                 pum_pass **out_pass);
/* Compares those of the pass' pipelines with the reference that this driver version has never been
 * seen to compute right, on what the step buffer holds; where one is wrong another kernel takes its
 * place, and *io_pass is the new pass. Kernels of every row's own cells and of the logits run; the
 * step buffer is left as it was. To be called when the pass could run as well. */
pumice_status pum_pass_prove(pum_stage *s, pum_pass **io_pass);
/* Proves and runs one pass and waits. */
pumice_status pum_pass_run(pum_stage *s, pum_pass *pass);
void pum_pass_clear(pum_stage *s);
/* Plans the largest passes and returns the arena they need. */
pumice_status pum_pass_arena(pum_stage *s, uint64_t *out_bytes);
/* Plans a pass without recording it. */
pumice_status pum_pass_plan(const pum_model_def *def, const pum_session_size *size,
                            const pum_caps *caps, const pum_tuning *tuning,
                            const pum_placement *weights, const pum_placement *kv,
                            const pum_plan_options *options, const pum_pass_key *key,
                            pum_plan *out_plan, pumice_error *err);

#endif
