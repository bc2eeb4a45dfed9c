/* SPDX-License-Identifier: Apache-2.0
 * Inside a session: sequences and their pages (sequence.c), passes: planned, recorded and cached
 * (pass.c), and the public calls (session.c). One thread at a time, except `cancel`. */
#ifndef PUM_SESSION_H
#define PUM_SESSION_H

#include "api.h"

/* What tells one recorded pass from another. */
typedef struct pum_pass_key {
    uint32_t rows, n_slots;
    bool one_sequence, encode;
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

/* What follows from a sequence's tokens for masks and positions. Another layout makes other K and V,
 * so nothing cached outlives a change of it. */
typedef struct pum_sequence_layout {
    uint32_t prefix; /* the first tokens, which see each other; 0 = causal */
    uint32_t turn;   /* ChatGLM-6B: index of <sop>, where positions stop at `stop` and block positions
                      * begin; UINT32_MAX: nowhere */
    uint32_t stop;
} pum_sequence_layout;

typedef struct pum_sequence {
    pum_tokens tokens; /* what the sequence consists of */
    uint32_t n_cached; /* of them, how many have K and V in the cache: all, or all but the last;
                        * none at all unless the prefix is complete */
    PUM_ARRAY(uint32_t) pages; /* physical pages in logical order */
    int32_t prefix;            /* as asked: PUMICE_PREFIX_MODEL or a number of tokens */
    pum_tokens input;          /* the encoder's; empty = none. Page i of sequence s in the second cache
                                * is s * pages_per_sequence + i, always. */
    pum_sequence_layout layout;
} pum_sequence;

struct pumice_session {
    pumice_model *model;
    pum_vk_device *vk;
    pum_caps caps; /* the device's, with the kernels that it computes wrongly */
    pum_session_size size;
    pum_plan_options plan_options;
    bool profile;
    pumice_dispatch_fn dispatch_fn;
    void *dispatch_user;
    uint64_t n_passes;

    pum_placement kv_place;
    pum_vk_buffer *kv, arena, step, logits;
    pum_exec_buffers exec_buffers;
    uint32_t *words; /* the mapped step buffer */

    pum_sequence *sequences;
    PUM_ARRAY(uint32_t) free_pages;
    int64_t logits_seq; /* sequence whose last logits are in row 0; -1 = none */
    int64_t states_seq; /* sequence whose encoder's output is in the same buffer; -1 = none */

    pum_pass passes[PUM_PASS_CACHE];
    uint64_t clock;
    atomic_int cancel;
    pumice_error err;
    pumice_timings timings;
};

/* ---- sequence.c ---- */
/* Makes the sequence able to hold `count` tokens; writes new pages to its block table. */
pumice_status pum_sequence_reserve(pumice_session *s, uint32_t seq, size_t count);
/* Drops all tokens beyond `count`, or all if that cuts the prefix, and gives unneeded pages back. */
void pum_sequence_truncate(pumice_session *s, uint32_t seq, size_t count);
/* Appends a token that was chosen; fails when the context is full. */
pumice_status pum_sequence_append(pumice_session *s, uint32_t seq, int32_t token);
/* The layout that these tokens have in a sequence. */
pum_sequence_layout pum_sequence_layout_of(const pumice_session *s, uint32_t seq,
                                           const int32_t *tokens, size_t count);
/* Fills batch row r with token `index` of a sequence. */
void pum_row_write(pumice_session *s, uint32_t row, uint32_t seq, uint32_t index);
/* Fills a slot: logits of batch row src_row, sampled with these settings, written to batch row
 * dst_row as the token after the sequence's last. */
void pum_slot_write(pumice_session *s, uint32_t slot, uint32_t seq, uint32_t src_row,
                    uint32_t dst_row, const pumice_sampling *sampling);
/* Fills batch row r of an encoder's pass with token `index` of a sequence's input. */
void pum_input_row_write(pumice_session *s, uint32_t row, uint32_t seq, uint32_t index);
/* Fills the tables of the second cache, once. */
void pum_input_tables_write(pumice_session *s);
/* The token that the slot chose `counter` draws after the sequence began. */
int32_t pum_slot_token(const pumice_session *s, uint32_t slot, uint32_t counter);

/* ---- session.c, for encode.c and score.c ---- */
pumice_status pum_session_begin(pumice_session *s);
pumice_status pum_session_check_seq(pumice_session *s, uint32_t seq);
pumice_status pum_session_check_tokens(pumice_session *s, const int32_t *tokens, size_t count);
/* Makes a sequence consist of these tokens, keeping what is cached of a common beginning. */
pumice_status pum_session_replace(pumice_session *s, uint32_t seq, const int32_t *tokens,
                                  size_t count);
/* Evaluates `n` tokens of a sequence from `at` in one pass. */
pumice_status pum_session_evaluate(pumice_session *s, uint32_t seq, uint32_t at, uint32_t n,
                                   pum_head head);

/* ---- encode.c ---- */
bool pum_session_has_encoder(const pumice_session *s);
/* INVALID if the model has an encoder and the sequence no input for it. */
pumice_status pum_session_check_input(pumice_session *s, uint32_t seq);

/* ---- pass.c ---- */
/* Finds or makes (graph, plan, pipelines, command buffers) a pass. The pointer is valid until the
 * next call. */
pumice_status pum_pass_get(pumice_session *s, const pum_pass_key *key, pum_pass **out_pass);
/* Makes the step buffer hold at least so many batch rows. Block tables are kept, rows and slots are
 * not; recorded passes are dropped. */
pumice_status pum_pass_grow(pumice_session *s, uint32_t rows);
/* Both: the pass for `key` with room for its rows, more than a batch only where `what` ("a prefix")
 * needs it. */
pumice_status pum_pass_get_large(pumice_session *s, const pum_pass_key *key, const char *what,
                                 pum_pass **out_pass);
/* Compares those of the pass' pipelines with the reference that this driver version has never been
 * seen to compute right, on what the step buffer holds; where one is wrong another kernel takes its
 * place, and *io_pass is the new pass. Kernels of every row's own cells and of the logits run; the
 * step buffer is left as it was. To be called when the pass could run as well. */
pumice_status pum_pass_prove(pumice_session *s, pum_pass **io_pass);
/* Proves and runs one pass and waits; reports its dispatches when profiling. */
pumice_status pum_pass_run(pumice_session *s, pum_pass *pass);
void pum_pass_report(pumice_session *s, pum_pass *pass);
void pum_pass_clear(pumice_session *s);
/* Plans the largest passes and returns the arena they need. */
pumice_status pum_pass_arena(pumice_session *s, uint64_t *out_bytes);
/* Plans a pass without recording it. */
pumice_status pum_pass_plan(const pum_model_def *def, const pum_session_size *size,
                            const pum_caps *caps, const pum_tuning *tuning,
                            const pum_placement *weights, const pum_placement *kv,
                            const pum_plan_options *options, const pum_pass_key *key,
                            pum_plan *out_plan, pumice_error *err);

/* sizes.c: appends what pumice_plan tells with params.sizes. */
void pum_sizes_text(const pum_gguf *gguf, const pum_caps *caps, const pumice_plan_params *params,
                    pum_text *text);

#endif
