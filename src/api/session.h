/* SPDX-License-Identifier: Apache-2.0
 * Inside a session: sequences and their pages (sequence.c), running passes over its stages (run.c),
 * and the public calls (session.c, encode.c, score.c, share.c, beam.c). One thread at a time, except `cancel`. */
#ifndef PUM_SESSION_H
#define PUM_SESSION_H

#include "ring.h"

/* What follows from a sequence's tokens for masks and positions. Another layout makes other K and V,
 * so nothing cached outlives a change of it. */
typedef struct pum_sequence_layout {
    uint32_t prefix; /* the first tokens, which see each other; 0 = causal */
    uint32_t turn;   /* ChatGLM-6B: index of <sop>, where positions stop at `stop` and block positions
                      * begin; UINT32_MAX: nowhere */
    uint32_t stop;
    uint32_t rope;   /* ROW_ROPE of its rows: 1 if it is longer than the context that the model had first */
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

/* The ring of a session with several stages. In one process: a thread for each but the first, which runs where the
 * session is called. `worker` of stage i is number i - 1. */
typedef struct pum_worker {
    pum_stage *stage;
    pum_thread_port port;
    pumice_error err; /* of its stage */
    pum_task task;
} pum_worker;

typedef struct pum_driver {
    bool several; /* stages; if not, all below is empty */
    bool ranks;   /* the others are processes, and have been told to begin */
    uint32_t n_all; /* stages, everywhere */
    pum_port port;
    pum_thread_port thread_port;
    pum_channel **channels; /* number i leads to stage i, and 0 back to the driver */
    pum_worker *workers;
    uint32_t n_channels, n_workers;
    pum_message *end;   /* made early, so that to end cannot fail */
    uint32_t in_flight; /* messages of passes that have not come back */
    bool lost;          /* the port failed: nothing comes back any more */
    pum_message *states; /* that brought the encoder's last output; NULL = none */
} pum_driver;

struct pumice_session {
    pumice_model *model;
    pum_session_size size; /* `step` is of the beginning: see pum_session_step */
    bool profile;
    pumice_dispatch_fn dispatch_fn;
    void *dispatch_user;
    uint64_t n_passes, run_began_ns;

    pum_stage *stages; /* one per part of the model in this process */
    uint32_t n_stages;
    pum_driver driver;

    pum_sequence *sequences;
    PUM_ARRAY(uint32_t) free_pages;
    uint16_t *page_users; /* sequences that hold a page: copies share what none of them writes */
    int64_t logits_seq; /* sequence whose last logits are in row 0; -1 = none */
    int64_t states_seq; /* sequence whose encoder's output is in the same buffer, or, of several stages,
                         * in driver.states; -1 = none */

    atomic_int cancel;
    pumice_error err;
    pumice_timings timings;
};

/* The step buffer that rows, slots and block tables are written to: the first stage's. */
static inline uint32_t *pum_session_words(const pumice_session *s) { return s->stages[0].words; }
static inline uint32_t *pum_session_table(const pumice_session *s, uint32_t seq)
{
    const pum_step_layout *step = &s->stages[0].size.step;
    return s->stages[0].words + step->table_at + (size_t)seq * step->table_stride;
}
static inline const pum_step_layout *pum_session_step(const pumice_session *s)
{
    return &s->stages[0].size.step;
}

/* ---- sequence.c ---- */
/* Makes the sequence able to hold `count` tokens: writes new pages to its block table, and makes
 * those its own that it will write. */
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
/* What a temperature above 0 takes, or none. */
pum_sampler pum_sampler_for(const pumice_sampling *sampling);
/* Fills batch row r of an encoder's pass with token `index` of a sequence's input. */
void pum_input_row_write(pumice_session *s, uint32_t row, uint32_t seq, uint32_t index);
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

/* Makes row 0 of the logits buffer hold the logits after the last token of `seq`. */
pumice_status pum_session_need_logits(pumice_session *s, uint32_t seq);
/* Fails unless `seqs` are sequences of the session, none twice. */
pumice_status pum_session_check_seqs(pumice_session *s, const uint32_t *seqs, uint32_t count);
/* A sequence that has grown beyond the first context of a model with two sets of divisors (LongRoPE)
 * is computed anew, but for its last token. */
pumice_status pum_session_renew(pumice_session *s, uint32_t seq);

/* ---- share.c ---- */
/* Gives a page back. */
void pum_page_release(pumice_session *s, uint32_t page);
/* Makes all pages from that of cell `from` on the sequence's own, so that they may be written; what
 * stands in cells before it is kept. */
pumice_status pum_sequence_own(pumice_session *s, uint32_t seq, uint32_t from);
/* Sequence seqs[i] becomes what sequence parents[i] was, all at once, but for the encoder's input;
 * none is changed on failure. */
pumice_status pum_sequences_reorder(pumice_session *s, const uint32_t *seqs,
                                    const uint32_t *parents, uint32_t count);
/* The encoder's input and what it made of it. */
pumice_status pum_input_copy(pumice_session *s, uint32_t from, uint32_t to);

/* ---- encode.c ---- */
bool pum_session_has_encoder(const pumice_session *s);
/* INVALID if the model has an encoder and the sequence no input for it. */
pumice_status pum_session_check_input(pumice_session *s, uint32_t seq);

/* ---- run.c ---- */
/* Where ranks share a model it has one session at a time, rank 0's: claimed first, released last. */
pumice_status pum_driver_claim(pumice_model *model, pumice_error *err);
void pum_driver_release(pumice_model *model);
/* Makes the stages' threads and channels, or tells other ranks to make theirs, where there are several
 * stages; and ends them, in any case. */
pumice_status pum_driver_begin(pumice_session *s, const pumice_session_params *params);
void pum_driver_end(pumice_session *s);
/* Makes room for the pass `key`, more than a batch of rows only where `what` ("a prefix") needs it.
 * Then its rows and slots are written, then it is run. */
pumice_status pum_run_prepare(pumice_session *s, const pum_pass_key *key, const char *what);
/* Starts the pass: rows and slots may be written anew. pum_run_finish waits for the one that was
 * started first; every started pass must be finished. Up to pum_run_depth + 1 may be running. */
pumice_status pum_run_start(pumice_session *s, const pum_pass_key *key);
pumice_status pum_run_finish(pumice_session *s);
uint32_t pum_run_depth(const pumice_session *s);
/* Both. */
pumice_status pum_run(pumice_session *s, const pum_pass_key *key);
/* Copies a row of the logits. */
pumice_status pum_run_read_logits(pumice_session *s, uint32_t row, float *out_logits);
/* Copies the output of the encoder's last pass, whose sequence is states_seq. */
pumice_status pum_run_read_states(pumice_session *s, uint32_t rows, float *out_states);
/* Copies pages of the KV cache (`cross`: of the second one), on all stages. No pass may be running. */
pumice_status pum_run_copy_pages(pumice_session *s, bool cross, const pum_page_copy *copies,
                                 uint32_t count);
/* Tells of the dispatches of the passes that ran last, if the session profiles. */
void pum_run_report(pumice_session *s);

/* sizes.c: appends what pumice_plan tells with params.sizes. */
pumice_status pum_sizes_text(const pum_gguf *gguf, const pum_caps *caps,
                             const pumice_plan_params *params, pum_text *text, pumice_error *err);

#endif
