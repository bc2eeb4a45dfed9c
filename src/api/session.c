/* SPDX-License-Identifier: Apache-2.0
 * The public calls of a session: create, sync, next, generate, logits. What happens inside one pass
 * is the plan's business; this file only fills the step buffer, runs passes and keeps the
 * sequences' books. */
#include "session.h"

#include <string.h>

#include "part.h"

static void destroy(pumice_session *s)
{
    pum_driver_end(s);
    for (uint32_t i = 0; i < s->n_stages; i++) pum_stage_destroy(&s->stages[i]);
    pum_free(s->stages);
    if (s->sequences) {
        for (uint32_t i = 0; i < s->size.n_sequences; i++) {
            pum_array_free(&s->sequences[i].tokens);
            pum_array_free(&s->sequences[i].pages);
            pum_array_free(&s->sequences[i].input);
        }
    }
    pum_free(s->sequences);
    pum_array_free(&s->free_pages);
    pum_free(s->page_users);
    pum_driver_release(s->model);
    pumice_model_destroy(&s->model);
    pum_free(s);
}

static pumice_status create_stages(pumice_session *s, const pumice_session_params *p)
{
    uint32_t n = s->model->n_parts;
    s->stages = pum_alloc_array(n, sizeof *s->stages);
    if (!s->stages) return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a session");
    for (; s->n_stages < n; s->n_stages++) {
        pum_stage *stage = &s->stages[s->n_stages];
        *stage = pum_stage_for(&s->model->parts[s->n_stages], &s->size, p, &s->cancel, &s->err);
        pumice_status status = pum_stage_create(stage);
        if (status == PUMICE_OK) continue;
        pum_stage_destroy(stage);
        return status;
    }
    return PUMICE_OK;
}

static pumice_status create_sequences(pumice_session *s)
{
    s->sequences = pum_alloc_array(s->size.n_sequences, sizeof *s->sequences);
    s->page_users = pum_alloc_array((size_t)s->size.pages, sizeof *s->page_users);
    if (!s->sequences || !s->page_users ||
        !pum_array_reserve(&s->free_pages, (size_t)s->size.pages)) {
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a session");
    }
    for (uint64_t i = s->size.pages; i-- > 0;)
        s->free_pages.data[s->free_pages.count++] = (uint32_t)i;
    for (uint32_t i = 0; i < s->size.n_sequences; i++) s->sequences[i].prefix = PUMICE_PREFIX_MODEL;
    return PUMICE_OK;
}

pumice_status pumice_session_create(pumice_model *model, const pumice_session_params *params,
                                    pumice_session **out_session, pumice_error *err)
{
    pum_error_clear(err);
    if (!out_session) return pum_fail(err, PUMICE_ERROR_INVALID, "out_session must be given");
    *out_session = NULL;
    if (!model || model->vocab_only) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "a model with weights must be given, not one loaded with vocab_only");
    }
    pumice_session_params p;
    if (params)
        PUM_TRY(
            pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_session_params", err));
    pum_params_copy(&p, sizeof p, params);
    PUM_TRY(pum_driver_claim(model, err));
    pumice_session *s = pum_alloc(sizeof *s);
    if (!s) pum_driver_release(model);
    if (!s) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for a session");
    pumice_status status;
    pum_model_keep(model);
    s->model = model;
    s->profile = p.profile;
    s->logits_seq = s->states_seq = -1;
    atomic_init(&s->cancel, 0);
    PUM_GOTO(pum_session_size_make(&model->def, &p, &s->size, &s->err));
    PUM_GOTO(create_sequences(s));
    PUM_GOTO(create_stages(s, &p));
    PUM_GOTO(pum_driver_begin(s, &p));
    *out_session = s;
    return PUMICE_OK;
fail:
    if (err) *err = s->err;
    destroy(s);
    return status;
}

void pumice_session_destroy(pumice_session **session)
{
    if (!session || !*session) return;
    destroy(*session);
    *session = NULL;
}

const char *pumice_session_error(const pumice_session *session)
{
    return session ? session->err.text : "";
}

void pumice_session_cancel(pumice_session *session)
{
    if (session) atomic_store(&session->cancel, 1);
}

/* Every public call that works begins here. */
pumice_status pum_session_begin(pumice_session *s)
{
    pum_error_clear(&s->err);
    atomic_store(&s->cancel, 0);
    for (uint32_t i = 0; i < s->n_stages; i++) {
        if (!pum_vk_device_is_lost(s->stages[i].vk)) continue;
        return pum_fail(&s->err, PUMICE_ERROR_DEVICE_LOST,
                        "the device was lost: destroy the session, the model and the "
                        "device and create them again");
    }
    return PUMICE_OK;
}

pumice_status pum_session_check_seq(pumice_session *s, uint32_t seq)
{
    if (seq < s->size.n_sequences) return PUMICE_OK;
    return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                    "sequence %u does not exist: the session was created with %u", seq,
                    s->size.n_sequences);
}

pumice_status pum_session_check_tokens(pumice_session *s, const int32_t *tokens, size_t count)
{
    uint32_t n_vocab = s->model->def.hp.n_vocab;
    if (count == 0 || !tokens)
        return pum_fail(&s->err, PUMICE_ERROR_INVALID, "at least one token must be given");
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab) {
            const char *path = pum_gguf_path(s->model->gguf);
            return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                            "token %d (number %zu) is not in the vocabulary of %u (vocab_size of "
                            "'%.250s%s'): give ids below it, or take the tokenizer that belongs to "
                            "the model",
                            (int)tokens[i], i, n_vocab, path,
                            pum_is_folder(path) ? "/config.json" : "");
        }
    }
    if (count > s->size.n_ctx) {
        return pum_fail(&s->err, PUMICE_ERROR_CONTEXT_FULL,
                        "%zu tokens do not fit the context of %u: ask for a larger "
                        "context or send fewer tokens",
                        count, s->size.n_ctx);
    }
    return PUMICE_OK;
}

static const pumice_sampling greedy = { .struct_size = sizeof greedy };

/* Starts the pass over `n` tokens of a sequence from `at`. */
static pumice_status start_rows(pumice_session *s, uint32_t seq, uint32_t at, uint32_t n, bool row_by_row,
                                pum_head head)
{
    pum_pass_key key = { .rows = n, .one_sequence = true, .row_by_row = row_by_row, .head = head,
                         .n_slots = head == PUM_HEAD_SLOTS };
    PUM_TRY(pum_sequence_own(s, seq, at));
    PUM_TRY(pum_run_prepare(s, &key, "a prefix"));
    for (uint32_t r = 0; r < n; r++) pum_row_write(s, r, seq, at + r);
    if (key.n_slots) pum_slot_write(s, 0, seq, n - 1, ROW_INACTIVE, &greedy);
    if (head != PUM_HEAD_NONE) s->logits_seq = -1;
    return pum_run_start(s, &key);
}

pumice_status pum_session_evaluate(pumice_session *s, uint32_t seq, uint32_t at, uint32_t n,
                                   pum_head head)
{
    pum_sequence *q = &s->sequences[seq];
    PUM_TRY(start_rows(s, seq, at, n, false, head));
    PUM_TRY(pum_run_finish(s));
    q->n_cached = PUM_MAX(q->n_cached, at + n);
    return PUMICE_OK;
}

/* The passes of a prompt that are under way: where each ends. */
typedef struct chunks {
    uint32_t end[PUM_MAX_PARTS + 1];
    uint32_t started, finished;
    bool failed; /* one that finished */
} chunks;

/* Waits for the oldest. After a failure nothing that was computed behind it counts. */
static void finish_chunk(pumice_session *s, uint32_t seq, chunks *c, pumice_status *status)
{
    uint32_t end = c->end[c->finished++ % PUM_COUNT(c->end)];
    pumice_status finished = pum_run_finish(s);
    if (*status == PUMICE_OK) *status = finished;
    if (finished == PUMICE_OK && !c->failed) s->sequences[seq].n_cached = end;
    else c->failed = true;
}

/* Evaluates the tokens of a sequence that are not cached, in chunks, a prefix in one; the last chunk
 * leaves the logits of the last token in row 0. Where it pays, all but the last go row by row. Several
 * stages work on a chunk each. */
static pumice_status evaluate(pumice_session *s, uint32_t seq)
{
    pum_sequence *q = &s->sequences[seq];
    uint32_t end = (uint32_t)q->tokens.count, at = q->n_cached, depth = pum_run_depth(s);
    bool few = end - at <= s->size.n_batch && pum_pass_goes_by_row(&s->stages[0], end - at);
    pumice_status status = PUMICE_OK;
    chunks c = { 0 };
    while (at < end && status == PUMICE_OK) {
        uint32_t n = few ? PUM_MAX(end - at - 1, 1u) : PUM_MIN(end - at, s->size.n_batch);
        if (at == 0) n = PUM_MAX(n, q->layout.prefix);
        at += n;
        status = start_rows(s, seq, at - n, n, few, at == end ? PUM_HEAD_SLOTS : PUM_HEAD_NONE);
        if (status == PUMICE_OK) c.end[c.started++ % PUM_COUNT(c.end)] = at;
        while (c.started - c.finished > depth) finish_chunk(s, seq, &c, &status);
    }
    while (c.finished < c.started) finish_chunk(s, seq, &c, &status);
    if (status == PUMICE_OK) s->logits_seq = seq;
    return status;
}

pumice_status pum_session_renew(pumice_session *s, uint32_t seq)
{
    pum_sequence *q = &s->sequences[seq];
    pum_sequence_layout layout = pum_sequence_layout_of(s, seq, q->tokens.data, q->tokens.count);
    if (layout.rope == q->layout.rope) return PUMICE_OK;
    q->layout = layout;
    q->n_cached = 0;
    if (s->logits_seq == (int64_t)seq) s->logits_seq = -1;
    uint32_t end = (uint32_t)q->tokens.count - 1;
    while (q->n_cached < end) {
        uint32_t n = PUM_MIN(end - q->n_cached, s->size.n_batch);
        if (q->n_cached == 0) n = PUM_MAX(n, PUM_MIN(layout.prefix, end));
        PUM_TRY(pum_session_evaluate(s, seq, q->n_cached, n, PUM_HEAD_NONE));
    }
    return PUMICE_OK;
}

pumice_status pum_session_need_logits(pumice_session *s, uint32_t seq)
{
    pum_sequence *q = &s->sequences[seq];
    PUM_TRY(pum_session_check_input(s, seq));
    if (q->tokens.count == 0) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID, "sequence %u is empty: give it tokens first",
                        seq);
    }
    PUM_TRY(pum_session_renew(s, seq));
    if (s->logits_seq == (int64_t)seq && q->n_cached == q->tokens.count) return PUMICE_OK;
    /* the last token's K and V may be there already: computing them again gives the same */
    q->n_cached = (uint32_t)PUM_MIN((size_t)q->n_cached, q->tokens.count - 1);
    return evaluate(s, seq);
}

pumice_status pum_session_replace(pumice_session *s, uint32_t seq, const int32_t *tokens,
                                  size_t count)
{
    pum_sequence *q = &s->sequences[seq];
    pum_sequence_layout layout = pum_sequence_layout_of(s, seq, tokens, count);
    PUM_TRY(pum_session_check_input(s, seq));
    if (layout.prefix > count) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                        "sequence %u has a prefix of %u tokens, but only %zu were given", seq,
                        layout.prefix, count);
    }
    size_t same = 0;
    while (same < count && same < q->tokens.count && q->tokens.data[same] == tokens[same]) same++;
    if (memcmp(&layout, &q->layout, sizeof layout) != 0) same = 0;
    pum_sequence_truncate(s, seq, same);
    q->layout = layout;
    same = q->tokens.count;
    PUM_TRY(pum_sequence_reserve(s, seq, count));
    if (!pum_array_reserve(&q->tokens, count - same)) {
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the tokens");
    }
    memcpy(q->tokens.data + same, tokens + same, (count - same) * sizeof *tokens);
    q->tokens.count = count;
    return PUMICE_OK;
}

pumice_status pumice_session_set_prefix(pumice_session *session, uint32_t seq, int32_t n_tokens)
{
    pumice_session *s = session;
    if (!s) return PUMICE_ERROR_INVALID;
    pum_error_clear(&s->err);
    PUM_TRY(pum_session_check_seq(s, seq));
    if (n_tokens > 1 && pum_session_has_encoder(s)) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                        "a model with an encoder has no prefix: its encoder's input is one");
    }
    if (n_tokens < PUMICE_PREFIX_MODEL || n_tokens > (int64_t)s->size.n_ctx) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                        "a prefix of %d tokens is not possible in a context of %u", (int)n_tokens,
                        s->size.n_ctx);
    }
    pum_sequence *q = &s->sequences[seq];
    q->prefix = n_tokens;
    pum_sequence_layout layout =
        pum_sequence_layout_of(s, seq, q->tokens.data, q->tokens.count);
    if (memcmp(&layout, &q->layout, sizeof layout) != 0) pum_sequence_truncate(s, seq, 0);
    return PUMICE_OK;
}

pumice_status pumice_session_sync(pumice_session *session, uint32_t seq, const int32_t *tokens,
                                  size_t count)
{
    pumice_session *s = session;
    if (!s) return PUMICE_ERROR_INVALID;
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(pum_session_check_seq(s, seq));
    PUM_TRY(pum_session_check_tokens(s, tokens, count));
    pum_sequence *q = &s->sequences[seq];
    PUM_TRY(pum_session_replace(s, seq, tokens, count));
    uint64_t t0 = pum_now_ns();
    uint32_t before = q->n_cached;
    pumice_status status = pum_session_need_logits(s, seq);
    /* after a cancel or a failure the sequence holds what was evaluated */
    if (status != PUMICE_OK) pum_sequence_truncate(s, seq, q->n_cached);
    s->timings.prompt_ns += pum_now_ns() - t0;
    s->timings.n_prompt_tokens += q->n_cached > before ? q->n_cached - before : 0;
    return status;
}

uint32_t pumice_session_length(const pumice_session *session, uint32_t seq)
{
    return session && seq < session->size.n_sequences
               ? (uint32_t)session->sequences[seq].tokens.count
               : 0;
}

pumice_status pumice_session_clear(pumice_session *session, uint32_t seq)
{
    if (!session) return PUMICE_ERROR_INVALID;
    pum_error_clear(&session->err);
    PUM_TRY(pum_session_check_seq(session, seq));
    pum_sequence_truncate(session, seq, 0);
    session->sequences[seq].input.count = 0;
    if (session->states_seq == (int64_t)seq) session->states_seq = -1;
    return PUMICE_OK;
}

pumice_status pumice_session_logits(pumice_session *session, uint32_t seq, float *out_logits)
{
    pumice_session *s = session;
    if (!s || !out_logits) return PUMICE_ERROR_INVALID;
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(pum_session_check_seq(s, seq));
    PUM_TRY(pum_session_need_logits(s, seq));
    return pum_run_read_logits(s, 0, out_logits);
}

/* Reads n rows of logits, those of the positions from `at`, and hands them over. */
static pumice_status hand_out_rows(pumice_session *s, size_t at, uint32_t n, float *logits,
                                   pumice_logits_fn row, void *user)
{
    uint32_t n_vocab = s->model->def.hp.n_vocab;
    for (uint32_t r = 0; r < n; r++) {
        PUM_TRY(pum_run_read_logits(s, r, logits));
        if (row(user, at + r, logits, n_vocab)) {
            return pum_fail(&s->err, PUMICE_ERROR_CANCELLED, "the logits callback asked to stop");
        }
    }
    return PUMICE_OK;
}

pumice_status pumice_session_eval_logits(pumice_session *session, uint32_t seq,
                                         const int32_t *tokens, size_t count, pumice_logits_fn row,
                                         void *user)
{
    pumice_session *s = session;
    if (!s || !row) return PUMICE_ERROR_INVALID;
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(pum_session_check_seq(s, seq));
    PUM_TRY(pum_session_check_tokens(s, tokens, count));
    pum_sequence *q = &s->sequences[seq];
    pum_sequence_truncate(s, seq, 0);
    PUM_TRY(pum_session_replace(s, seq, tokens, count));
    float *logits = pum_alloc_array(s->model->def.hp.n_vocab, sizeof *logits);
    if (!logits) {
        pum_sequence_truncate(s, seq, 0);
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the logits");
    }
    uint32_t chunk = PUM_MIN(s->size.n_batch, s->size.logits_rows);
    pumice_status status = PUMICE_OK;
    /* Once a prefix's K and V are there, its logits can be had in chunks. */
    if (q->layout.prefix > chunk) {
        PUM_GOTO(pum_session_evaluate(s, seq, 0, q->layout.prefix, PUM_HEAD_NONE));
    }
    for (size_t at = 0; at < count && status == PUMICE_OK; at += chunk) {
        uint32_t n = (uint32_t)PUM_MIN(count - at, chunk);
        PUM_GOTO(pum_session_evaluate(s, seq, (uint32_t)at, n, PUM_HEAD_ALL));
        status = hand_out_rows(s, at, n, logits, row, user);
    }
fail:
    pum_free(logits);
    if (status != PUMICE_OK) pum_sequence_truncate(s, seq, q->n_cached);
    return status;
}

/* How many tokens may be chosen before that happens. */
static uint32_t until_renewal(const pumice_session *s, uint32_t seq, uint32_t max)
{
    const pum_hparams *hp = &s->model->def.hp;
    size_t count = s->sequences[seq].tokens.count;
    if (hp->rope.kind != PUM_ROPE_LONG || count > hp->rope.original_ctx) return max;
    return (uint32_t)PUM_MIN((size_t)max, hp->rope.original_ctx + 1 - count);
}

pum_sampler pum_sampler_for(const pumice_sampling *sampling)
{
    return sampling->temperature > 0 ? PUM_SAMPLER_CHAIN : PUM_SAMPLER_ARGMAX;
}

static pumice_status check_sampling(pumice_session *s, const pumice_sampling *p)
{
    if (!(p->temperature >= 0 && p->temperature < 1e6f) || !(p->top_p >= 0) ||
        !(p->min_p >= 0 && p->min_p <= 1)) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                        "temperature must be 0 or more, top_p 0 or more, min_p from 0 to 1");
    }
    return PUMICE_OK;
}

/* Fills rows and slots so that one pass evaluates the last token of every sequence and chooses its
 * next one. */
static void write_step(pumice_session *s, const uint32_t *seqs, uint32_t count,
                       const pumice_sampling *sampling)
{
    for (uint32_t i = 0; i < count; i++) {
        pum_row_write(s, i, seqs[i], (uint32_t)s->sequences[seqs[i]].tokens.count - 1);
        pum_slot_write(s, i, seqs[i], i, i, sampling);
    }
}

/* The pass that chooses a token for `seqs`: from logits that are there already, or with a forward
 * pass before. */
static pum_pass_key step_key(const pumice_session *s, const uint32_t *seqs, uint32_t count,
                             pum_sampler sampler)
{
    const pum_sequence *q = &s->sequences[seqs[0]];
    if (count == 1 && s->logits_seq == (int64_t)seqs[0] && q->n_cached == q->tokens.count) {
        return (pum_pass_key){ .n_slots = 1, .sampler = sampler };
    }
    return (pum_pass_key){
        .rows = count, .n_slots = count, .head = PUM_HEAD_SLOTS, .sampler = sampler
    };
}

pumice_status pum_session_check_seqs(pumice_session *s, const uint32_t *seqs, uint32_t count)
{
    if (count == 0 || !seqs)
        return pum_fail(&s->err, PUMICE_ERROR_INVALID, "at least one sequence must be given");
    if (count > s->size.n_sequences) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                        "%u sequences were given, but the session has %u", count,
                        s->size.n_sequences);
    }
    for (uint32_t i = 0; i < count; i++) {
        PUM_TRY(pum_session_check_seq(s, seqs[i]));
        for (uint32_t j = 0; j < i; j++) {
            if (seqs[j] == seqs[i]) {
                return pum_fail(&s->err, PUMICE_ERROR_INVALID, "sequence %u is given twice",
                                seqs[i]);
            }
        }
    }
    return PUMICE_OK;
}

static pumice_status check_next(pumice_session *s, const uint32_t *seqs, uint32_t count)
{
    PUM_TRY(pum_session_check_seqs(s, seqs, count));
    for (uint32_t i = 0; i < count; i++) {
        const pum_sequence *q = &s->sequences[seqs[i]];
        PUM_TRY(pum_session_check_input(s, seqs[i]));
        if (q->tokens.count == 0) {
            return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                            "sequence %u is empty: give it tokens first", seqs[i]);
        }
        if (q->n_cached + 1 < q->tokens.count) {
            return pum_fail(&s->err, PUMICE_ERROR_INTERNAL,
                            "sequence %u has tokens that were never evaluated", seqs[i]);
        }
    }
    return PUMICE_OK;
}

pumice_status pumice_session_next(pumice_session *session, const uint32_t *seqs, uint32_t count,
                                  const pumice_sampling *sampling, int32_t *out_tokens)
{
    pumice_session *s = session;
    if (!s || !out_tokens) return PUMICE_ERROR_INVALID;
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(check_next(s, seqs, count));
    pumice_sampling p;
    if (sampling)
        PUM_TRY(
            pum_params_check(sampling->struct_size, sizeof(uint32_t), "pumice_sampling", &s->err));
    pum_params_copy(&p, sizeof p, sampling);
    PUM_TRY(check_sampling(s, &p));
    for (uint32_t i = 0; i < count; i++) {
        out_tokens[i] = -1;
        PUM_TRY(pum_session_renew(s, seqs[i]));
        PUM_TRY(pum_sequence_reserve(s, seqs[i], s->sequences[seqs[i]].tokens.count + 1));
    }
    uint64_t t0 = pum_now_ns(), cpu = pum_thread_cpu_ns();
    pum_pass_key key = step_key(s, seqs, count, pum_sampler_for(&p));
    PUM_TRY(pum_run_prepare(s, &key, "a step"));
    write_step(s, seqs, count, &p);
    if (key.rows) s->logits_seq = -1;
    PUM_TRY(pum_run(s, &key));
    for (uint32_t i = 0; i < count; i++) {
        pum_sequence *q = &s->sequences[seqs[i]];
        q->n_cached = (uint32_t)q->tokens.count;
        int32_t token = pum_slot_token(s, i, (uint32_t)q->tokens.count);
        PUM_TRY(pum_sequence_append(s, seqs[i], token));
        out_tokens[i] = token;
    }
    s->timings.decode_ns += pum_now_ns() - t0;
    s->timings.submit_cpu_ns += pum_thread_cpu_ns() - cpu;
    s->timings.n_decode_tokens += count;
    return PUMICE_OK;
}

pumice_status pumice_session_get_timings(const pumice_session *session, pumice_timings *out_timings)
{
    if (!session || !out_timings || out_timings->struct_size < sizeof(uint32_t))
        return PUMICE_ERROR_INVALID;
    uint32_t size = out_timings->struct_size;
    pumice_timings full = session->timings;
    full.struct_size = size;
    full.model_open_ns = session->model->open_ns;
    full.model_upload_ns = session->model->upload_ns;
    full.model_ahead_ns = session->model->ahead_ns;
    const pum_load_bytes loaded = pum_parts_loaded(session->model);
    full.in_place_bytes = loaded.in_place;
    full.copied_bytes = loaded.copied;
    full.repacked_host_bytes = loaded.repacked_host;
    full.repacked_device_bytes = loaded.repacked_device;
    full.rounded_bytes = loaded.rounded;
    for (uint32_t i = 0; i < session->n_stages; i++) {
        full.plan_ns += session->stages[i].plan_ns;
        full.pipeline_ns += session->stages[i].pipeline_ns;
        full.self_test_ns += session->stages[i].self_test_ns;
        if (session->driver.several) full.devices_busy_ns += session->stages[i].busy_ns;
    }
    memcpy(out_timings, &full, PUM_MIN((size_t)size, sizeof full));
    return PUMICE_OK;
}

pumice_status pumice_session_get_memory(const pumice_session *session, pumice_memory *out_memory)
{
    if (!session || !out_memory || out_memory->struct_size < sizeof(uint32_t))
        return PUMICE_ERROR_INVALID;
    uint32_t size = out_memory->struct_size;
    const pumice_session *s = session;
    pumice_memory full = { .struct_size = size, .weights_bytes = pum_parts_weight_bytes(s->model) };
    for (uint32_t i = 0; i < s->n_stages; i++) {
        const pum_stage *stage = &s->stages[i];
        full.kv_bytes += stage->kv_place.total_bytes;
        full.activation_bytes += pum_stage_activation_bytes(stage);
        full.step_bytes += stage->step.size_bytes;
    }
    memcpy(out_memory, &full, PUM_MIN((size_t)size, sizeof full));
    return PUMICE_OK;
}

pumice_status pumice_session_set_profile(pumice_session *session, pumice_dispatch_fn fn, void *user)
{
    if (!session) return PUMICE_ERROR_INVALID;
    pum_error_clear(&session->err);
    if (!session->profile) {
        return pum_fail(&session->err, PUMICE_ERROR_INVALID,
                        "create the session with params.profile = 1 to profile it");
    }
    session->dispatch_fn = fn;
    session->dispatch_user = user;
    return PUMICE_OK;
}

/* ---- generate: several passes in flight ---- */

typedef struct generation {
    const pumice_generate_params *params;
    pum_text_stream stream;
    pum_text text;
    uint32_t given; /* tokens handed to the callback */
    bool ended;     /* by a token or by the callback */
} generation;

/* Hands one token over. Returns true when generation must end. */
static bool give(pumice_session *s, generation *g, int32_t token, pumice_status *status)
{
    bool ends = pum_model_ends(s->model, token);
    g->text.count = 0;
    /* the matrix may have more rows than the tokenizer has tokens: those have no text */
    const pum_tokenizer *t = s->model->tokenizer;
    bool has_text = t && (uint32_t)token < pum_tokenizer_count(t);
    if (has_text && (!ends || g->params->ignore_eos)) {
        *status = pum_text_stream_push(&g->stream, t, token, &g->text);
        if (*status == PUMICE_OK && g->text.failed) *status = PUMICE_ERROR_HOST_MEMORY;
        if (*status != PUMICE_OK) {
            *status = pum_fail(&s->err, *status, "no memory for the text of a token");
            return true;
        }
    }
    g->given++;
    int stop = g->params->token ? g->params->token(g->params->user, token,
                                                   g->text.data ? g->text.data : "", g->text.count)
                                : 0;
    return stop || (ends && !g->params->ignore_eos);
}

/* Appends and hands over a token that was chosen. */
static pumice_status take(pumice_session *s, uint32_t seq, int32_t token, generation *g)
{
    pum_sequence *q = &s->sequences[seq];
    pumice_status status = PUMICE_OK;
    q->n_cached = (uint32_t)q->tokens.count;
    PUM_TRY(pum_sequence_append(s, seq, token));
    s->timings.n_decode_tokens++;
    g->ended = give(s, g, token, &status);
    if (!g->ended && atomic_load(&s->cancel)) {
        status = pum_fail(&s->err, PUMICE_ERROR_CANCELLED, "generation was cancelled");
        g->ended = true;
    }
    return status;
}

/* The same for several stages: a token goes round before the next one does. */
static pumice_status generate_in_turns(pumice_session *s, uint32_t seq, uint32_t max, generation *g)
{
    const pumice_sampling *p = &g->params->sampling;
    for (uint32_t i = 0; i < max && !g->ended; i++) {
        pum_pass_key key = step_key(s, &seq, 1, pum_sampler_for(p));
        PUM_TRY(pum_run_prepare(s, &key, "a step"));
        write_step(s, &seq, 1, p);
        s->logits_seq = -1;
        PUM_TRY(pum_run(s, &key));
        PUM_TRY(take(s, seq, pum_slot_token(s, 0, (uint32_t)s->sequences[seq].tokens.count), g));
    }
    return PUMICE_OK;
}

/* How many passes to wait for at once, of `in_flight`. Waking up is most of what a token costs the
 * calling thread, so two that come quickly after each other are waited for together: nobody sees a
 * token come later by two frames of a screen. Two more are in flight then, so that the device does not wait. */
static uint32_t wait_for(uint32_t in_flight, uint64_t pass_ns)
{
    enum { QUICK_NS = 30000000 };
    return in_flight >= 4 && pass_ns > 0 && pass_ns < QUICK_NS ? 2 : 1;
}

/* Runs passes until `max` tokens are chosen or generation ends. The first pass may only sample; the
 * others evaluate the token chosen last and choose the next. The device feeds itself, so up to
 * `depth` are in flight. Ends early, with one token or more, when the stage should settle. */
static pumice_status generate(pumice_session *s, uint32_t seq, uint32_t max, pum_pass *first,
                              pum_pass *step, generation *g)
{
    enum { MAX_DEPTH = 4 };
    pum_stage *stage = &s->stages[0];
    uint32_t depth = s->profile || step->plan.n_submits > 1 ? 1 : MAX_DEPTH;
    uint32_t start = (uint32_t)s->sequences[seq].tokens.count, submitted = 0, done = 0;
    uint64_t ticket[MAX_DEPTH] = { 0 };
    uint64_t woken_ns = 0, pass_ns = 0; /* when the last wait ended, how long a pass took then */
    pumice_status status = PUMICE_OK;
    while (!g->ended && done < max) {
        while (submitted < max && submitted - done < depth && (submitted == 0 || pum_stage_is_settled(stage))) {
            /* its token and its cell must be there, so that it does not run before the first has */
            if (submitted == 1 && done == 1) PUM_GOTO(pum_pass_prove(stage, &step));
            if (submitted == 1 && !step->proven) break;
            pum_pass *pass = submitted == 0 ? first : step;
            PUM_GOTO(pum_exec_submit(pass->exec, &s->cancel, &ticket[submitted % depth], &s->err));
            submitted++;
        }
        if (submitted == done) break; /* the weights have moved */
        uint32_t n = wait_for(submitted - done, pass_ns);
        PUM_GOTO(pum_vk_wait(stage->vk, ticket[(done + n - 1) % depth], &s->err));
        uint64_t now_ns = pum_now_ns();
        if (woken_ns) pass_ns = (now_ns - woken_ns) / n;
        woken_ns = now_ns;
        for (uint32_t i = 0; i < n && !g->ended; i++) {
            stage->last = done == 0 ? first : step;
            if (depth == 1) pum_run_report(s);
            done++;
            PUM_GOTO(take(s, seq, pum_slot_token(s, 0, start + done - 1), g));
        }
    }
fail:
    if (submitted > done) { /* passes beyond the end still write cells nobody will read */
        pumice_status waited = pum_vk_wait(stage->vk, ticket[(submitted - 1) % depth], &s->err);
        if (status == PUMICE_OK) status = waited;
    }
    return status;
}

/* Makes the passes for up to `max` tokens and runs them. */
static pumice_status choose_run(pumice_session *s, uint32_t seq, uint32_t max, generation *g)
{
    const pumice_sampling *p = &g->params->sampling;
    pum_sampler sampler = pum_sampler_for(p);
    pum_pass_key first_key = step_key(s, &seq, 1, sampler);
    pum_pass_key key = { .rows = 1, .n_slots = 1, .head = PUM_HEAD_SLOTS, .sampler = sampler };
    pum_stage *only = &s->stages[0];
    pum_pass *first, *step;
    if (s->driver.several) return generate_in_turns(s, seq, max, g);
    pum_stage_settle(only);
    PUM_TRY(pum_pass_get(only, &key, &step)); /* twice, since making one may move the other */
    PUM_TRY(pum_pass_get(only, &first_key, &first));
    write_step(s, &seq, 1, p);
    PUM_TRY(pum_pass_prove(only, &first));
    PUM_TRY(pum_pass_get(only, &key, &step));
    s->logits_seq = s->states_seq = -1;
    return generate(s, seq, max, first, step, g);
}

static pumice_status choose(pumice_session *s, uint32_t seq, uint32_t max, generation *g)
{
    while (max > 0 && !g->ended) {
        PUM_TRY(pum_session_renew(s, seq));
        uint32_t n = until_renewal(s, seq, max), before = g->given;
        PUM_TRY(choose_run(s, seq, n, g));
        max -= PUM_MIN(max, g->given - before);
    }
    return PUMICE_OK;
}

/* Appends and hands over a token that nobody chose; what stands before it must be cached. */
static pumice_status force(pumice_session *s, uint32_t seq, uint32_t token, generation *g)
{
    pum_sequence *q = &s->sequences[seq];
    pumice_status status = PUMICE_OK;
    if (q->n_cached < q->tokens.count) {
        PUM_TRY(pum_session_evaluate(s, seq, q->n_cached, 1, PUM_HEAD_NONE));
    }
    PUM_TRY(pum_sequence_append(s, seq, (int32_t)token));
    g->ended = give(s, g, (int32_t)token, &status);
    s->timings.n_decode_tokens++;
    return status;
}

/* Up to `max` tokens, some of which the model's files may prescribe. */
static pumice_status choose_or_force(pumice_session *s, uint32_t seq, uint32_t max, generation *g)
{
    const pum_hparams *hp = &s->model->def.hp;
    bool forced = pum_session_has_encoder(s) && !g->params->ignore_eos && !g->params->no_forced;
    if (forced && hp->first_token != PUM_NO_TOKEN && s->sequences[seq].tokens.count == 1) {
        PUM_TRY(force(s, seq, hp->first_token, g));
        max--;
    }
    bool last = forced && hp->last_token != PUM_NO_TOKEN && max > 0;
    if (max - last > 0 && !g->ended) PUM_TRY(choose(s, seq, max - last, g));
    return last && !g->ended ? force(s, seq, hp->last_token, g) : PUMICE_OK;
}

pumice_status pumice_session_generate(pumice_session *session, uint32_t seq,
                                      const pumice_generate_params *params, uint32_t *out_count)
{
    pumice_session *s = session;
    if (out_count) *out_count = 0;
    if (!s || !params) return PUMICE_ERROR_INVALID;
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(
        pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_generate_params", &s->err));
    PUM_TRY(check_next(s, &seq, 1));
    pumice_generate_params p;
    pum_params_copy(&p, sizeof p, params);
    PUM_TRY(check_sampling(s, &p.sampling));
    pum_sequence *q = &s->sequences[seq];
    uint32_t room = s->size.n_ctx - (uint32_t)q->tokens.count;
    if (room == 0) {
        return pum_fail(&s->err, PUMICE_ERROR_CONTEXT_FULL, "the context of %u tokens is full",
                        s->size.n_ctx);
    }
    uint32_t max = p.max_tokens ? PUM_MIN(p.max_tokens, room) : room;
    PUM_TRY(pum_sequence_reserve(s, seq, q->tokens.count + max));
    uint64_t t0 = pum_now_ns(), cpu = pum_thread_cpu_ns();
    generation g = { .params = &p };
    /* after ordinary text the first token keeps its blank */
    const pum_tokenizer *t = s->model->tokenizer;
    pum_token_type last = t ? pum_tokenizer_type(t, q->tokens.data[q->tokens.count - 1])
                            : PUM_TOKEN_NORMAL;
    g.stream.started = last != PUM_TOKEN_CONTROL && last != PUM_TOKEN_UNKNOWN;
    pumice_status status = choose_or_force(s, seq, max, &g);
    s->timings.decode_ns += pum_now_ns() - t0;
    s->timings.submit_cpu_ns += pum_thread_cpu_ns() - cpu;
    pum_sequence_truncate(s, seq, q->tokens.count); /* gives unused pages back */
    g.text.count = 0;
    if (pum_text_stream_finish(&g.stream, &g.text) == PUMICE_OK && g.text.count && p.token &&
        status == PUMICE_OK) {
        p.token(p.user, -1, g.text.data, g.text.count); /* bytes that never became UTF-8 */
    }
    pum_text_free(&g.text);
    if (out_count) *out_count = g.given;
    return status;
}
