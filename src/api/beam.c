/* SPDX-License-Identifier: Apache-2.0
 * Beam search: of all continuations of the likeliest few the likeliest few are kept. The forward
 * passes are those of pumice_session_next; which candidates survive is decided here, on the host,
 * from log-probabilities in double, by the rules of the search that encoder-decoders were published
 * with (transformers 4.44: two candidates a beam are looked at, endings among the first n count). */
#include "session.h"

#include <math.h>
#include <string.h>

enum { CANDIDATES = 8 }; /* per beam: enough though some of them end a text */

typedef struct candidate {
    double score; /* sum of logprobs */
    uint32_t beam;
    int32_t token;
} candidate;

typedef struct hypothesis {
    pum_tokens tokens; /* what was generated, with what ended it */
    double score;      /* per token, by the length penalty */
} hypothesis;

typedef struct search {
    pumice_session *s;
    const pumice_beam_params *params;
    const uint32_t *seqs;
    uint32_t n, live;   /* beams wanted; beams there are */
    uint32_t prompt, max; /* tokens before; tokens to generate at most */
    double *scores;     /* of beams */
    candidate *best;    /* sorted, n_best of at most CANDIDATES * n */
    uint32_t n_best;
    uint32_t *parents;  /* sequences */
    hypothesis *ended;  /* at most n */
    uint32_t n_ended;
    float *logits;
    uint8_t *banned; /* per token of the vocabulary */
} search;

static const pum_tokens *tokens_of(const search *b, uint32_t beam)
{
    return &b->s->sequences[b->seqs[beam]].tokens;
}

static uint32_t generated(const search *b) { return (uint32_t)tokens_of(b, 0)->count - b->prompt; }

/* ---- candidates ---- */

static void offer(search *b, candidate c)
{
    uint32_t most = CANDIDATES * b->n, at = b->n_best;
    if (b->n_best == most) {
        if (!(c.score > b->best[most - 1].score)) return;
        at = most - 1;
    } else {
        b->n_best++;
    }
    for (; at > 0 && c.score > b->best[at - 1].score; at--) b->best[at] = b->best[at - 1];
    b->best[at] = c;
}

/* Marks the tokens that would repeat a run of `n`: those that came after its first n - 1 before. */
static void ban_repeats(search *b, const pum_tokens *t, uint32_t n)
{
    memset(b->banned, 0, b->s->model->def.hp.n_vocab);
    if (n == 0 || t->count < n) return;
    const int32_t *last = t->data + t->count - (n - 1);
    for (size_t i = 0; i + n <= t->count; i++) {
        if (memcmp(t->data + i, last, (n - 1) * sizeof *last) == 0) b->banned[t->data[i + n - 1]] = 1;
    }
}

static void offer_row(search *b, uint32_t beam)
{
    uint32_t n = b->s->model->def.hp.n_vocab;
    double top = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++) top = fmax(top, (double)b->logits[i]);
    for (uint32_t i = 0; i < n; i++) sum += exp((double)b->logits[i] - top);
    double shift = b->scores[beam] - top - log(sum);
    ban_repeats(b, tokens_of(b, beam), b->params->no_repeat_ngram);
    for (uint32_t i = 0; i < n; i++) {
        candidate c = { (double)b->logits[i] + shift, beam, (int32_t)i };
        if (!b->banned[i] && c.score > -INFINITY) offer(b, c);
    }
}

/* The token that the model's files prescribe here; PUM_NO_TOKEN = none. */
static uint32_t forced_token(const search *b)
{
    const pum_hparams *hp = &b->s->model->def.hp;
    bool off = !pum_session_has_encoder(b->s) || b->params->ignore_eos || b->params->no_forced;
    if (off) return PUM_NO_TOKEN;
    if (generated(b) == 0 && hp->first_token != PUM_NO_TOKEN) return hp->first_token;
    return generated(b) + 1 == b->max ? hp->last_token : PUM_NO_TOKEN;
}

/* One pass over all beams, whose last tokens are not evaluated yet. */
static pumice_status evaluate(search *b)
{
    pumice_session *s = b->s;
    const pumice_sampling none = { .struct_size = sizeof none };
    pum_pass_key key = { .rows = b->live, .n_slots = b->live, .head = PUM_HEAD_SLOTS };
    for (uint32_t i = 0; i < b->live; i++) {
        PUM_TRY(pum_session_renew(s, b->seqs[i]));
        PUM_TRY(pum_sequence_reserve(s, b->seqs[i], tokens_of(b, i)->count));
    }
    PUM_TRY(pum_run_prepare(s, &key, "a step"));
    for (uint32_t i = 0; i < b->live; i++) {
        pum_row_write(s, i, b->seqs[i], (uint32_t)tokens_of(b, i)->count - 1);
        pum_slot_write(s, i, b->seqs[i], i, ROW_INACTIVE, &none);
    }
    s->logits_seq = -1;
    PUM_TRY(pum_run(s, &key));
    for (uint32_t i = 0; i < b->live; i++) {
        s->sequences[b->seqs[i]].n_cached = (uint32_t)tokens_of(b, i)->count;
    }
    return PUMICE_OK;
}

static pumice_status find_candidates(search *b)
{
    uint32_t forced = forced_token(b);
    b->n_best = 0;
    /* the prompt's last row may be there already */
    if (generated(b) == 0) PUM_TRY(pum_session_need_logits(b->s, b->seqs[0]));
    else PUM_TRY(evaluate(b));
    for (uint32_t i = 0; i < b->live; i++) {
        if (forced != PUM_NO_TOKEN) {
            offer(b, (candidate){ b->scores[i], i, (int32_t)forced });
            continue;
        }
        PUM_TRY(pum_run_read_logits(b->s, i, b->logits));
        offer_row(b, i);
    }
    return PUMICE_OK;
}

/* ---- hypotheses ---- */

static double normalised(const search *b, double score, uint32_t length)
{
    double penalty = b->params->length_penalty != 0.0f ? (double)b->params->length_penalty : 1.0;
    return score / pow(length, penalty);
}

static uint32_t worst_ended(const search *b)
{
    uint32_t worst = 0;
    for (uint32_t i = 1; i < b->n_ended; i++) {
        if (b->ended[i].score < b->ended[worst].score) worst = i;
    }
    return worst;
}

/* Keeps what a beam generated, with a token that ends it (-1: none), if it is among the n best. */
static pumice_status add_ended(search *b, uint32_t beam, int32_t token, double score)
{
    const pum_tokens *t = tokens_of(b, beam);
    uint32_t length = (uint32_t)t->count - b->prompt + (token >= 0);
    hypothesis *h = &b->ended[b->n_ended];
    double value = normalised(b, score, length);
    if (b->n_ended == b->n) {
        h = &b->ended[worst_ended(b)];
        if (value <= h->score) return PUMICE_OK;
    } else {
        b->n_ended++;
    }
    h->score = value;
    h->tokens.count = 0;
    if (!pum_array_reserve(&h->tokens, (size_t)length + 1)) {
        return pum_fail(&b->s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a beam");
    }
    memcpy(h->tokens.data, t->data + b->prompt, (t->count - b->prompt) * sizeof *t->data);
    h->tokens.count = t->count - b->prompt;
    if (token >= 0) h->tokens.data[h->tokens.count++] = token;
    return PUMICE_OK;
}

/* Can nothing that is still open become better than what has ended? */
static bool is_done(const search *b, uint32_t length)
{
    if (b->n_ended < b->n) return false;
    return b->params->stop_early || b->n_best == 0 ||
           b->ended[worst_ended(b)].score >= normalised(b, b->best[0].score, length);
}

/* ---- steps ---- */

/* From candidates to beams; those that end a text become hypotheses. */
static pumice_status choose(search *b)
{
    int32_t next[256];
    uint32_t live = 0;
    for (uint32_t rank = 0; rank < b->n_best && live < b->n; rank++) {
        const candidate *c = &b->best[rank];
        bool ends = pum_model_ends(b->s->model, c->token) && !b->params->ignore_eos;
        if (ends && rank < b->n) PUM_TRY(add_ended(b, c->beam, c->token, c->score));
        if (ends) continue;
        b->parents[live] = b->seqs[c->beam];
        next[live] = c->token;
        b->scores[live++] = c->score;
    }
    PUM_TRY(pum_sequences_reorder(b->s, b->seqs, b->parents, live));
    for (uint32_t i = 0; i < live; i++) PUM_TRY(pum_sequence_append(b->s, b->seqs[i], next[i]));
    b->live = live;
    return PUMICE_OK;
}

static pumice_status run(search *b)
{
    bool done = false;
    for (uint32_t i = 1; i < b->n; i++) PUM_TRY(pum_input_copy(b->s, b->seqs[0], b->seqs[i]));
    b->live = 1;
    for (uint32_t length = 1; length <= b->max && !done && b->live; length++) {
        PUM_TRY(find_candidates(b));
        PUM_TRY(choose(b));
        done = is_done(b, length);
        b->s->timings.n_decode_tokens++;
        if (atomic_load(&b->s->cancel)) {
            return pum_fail(&b->s->err, PUMICE_ERROR_CANCELLED, "generation was cancelled");
        }
    }
    for (uint32_t i = 0; i < b->live && !done; i++) PUM_TRY(add_ended(b, i, -1, b->scores[i]));
    return PUMICE_OK;
}

/* ---- the call ---- */

static void finish(search *b)
{
    pum_sequence_truncate(b->s, b->seqs[0], b->prompt);
    if (b->s->logits_seq == (int64_t)b->seqs[0]) b->s->logits_seq = -1;
    for (uint32_t i = 1; i < b->n; i++) {
        pum_sequence_truncate(b->s, b->seqs[i], 0);
        b->s->sequences[b->seqs[i]].input.count = 0;
    }
    for (uint32_t i = 0; b->ended && i < b->n; i++) pum_array_free(&b->ended[i].tokens);
    pum_free(b->scores);
    pum_free(b->best);
    pum_free(b->parents);
    pum_free(b->ended);
    pum_free(b->logits);
    pum_free(b->banned);
}

static pumice_status allocate(search *b)
{
    uint32_t n_vocab = b->s->model->def.hp.n_vocab;
    b->scores = pum_alloc_array(b->n, sizeof *b->scores);
    b->best = pum_alloc_array((size_t)CANDIDATES * b->n, sizeof *b->best);
    b->parents = pum_alloc_array(b->n, sizeof *b->parents);
    b->ended = pum_alloc_array(b->n, sizeof *b->ended);
    b->logits = pum_alloc_array(n_vocab, sizeof *b->logits);
    b->banned = pum_alloc_array(n_vocab, 1);
    if (b->scores && b->best && b->parents && b->ended && b->logits && b->banned) return PUMICE_OK;
    return pum_fail(&b->s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a beam search");
}

static void give_best(const search *b, int32_t *out_tokens, size_t capacity, size_t *out_count,
                      float *out_score)
{
    const hypothesis *best = NULL;
    for (uint32_t i = 0; i < b->n_ended; i++) {
        if (!best || b->ended[i].score > best->score) best = &b->ended[i];
    }
    if (!best) return;
    size_t n = PUM_MIN(best->tokens.count, capacity);
    if (n) memcpy(out_tokens, best->tokens.data, n * sizeof *out_tokens);
    *out_count = best->tokens.count;
    if (out_score) *out_score = (float)best->score;
}

static pumice_status begin(pumice_session *s, const uint32_t *seqs, uint32_t count,
                           const pumice_beam_params *params, pumice_beam_params *out_params)
{
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(pum_session_check_seqs(s, seqs, count));
    if (params)
        PUM_TRY(
            pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_beam_params", &s->err));
    pum_params_copy(out_params, sizeof *out_params, params);
    if (!isfinite(out_params->length_penalty)) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID, "length_penalty must be a number");
    }
    PUM_TRY(pum_session_need_logits(s, seqs[0]));
    if (s->sequences[seqs[0]].tokens.count < s->size.n_ctx) return PUMICE_OK;
    return pum_fail(&s->err, PUMICE_ERROR_CONTEXT_FULL, "the context of %u tokens is full",
                    s->size.n_ctx);
}

pumice_status pumice_session_beam_search(pumice_session *session, const uint32_t *seqs,
                                         uint32_t count, const pumice_beam_params *params,
                                         int32_t *out_tokens, size_t capacity, size_t *out_count,
                                         float *out_score)
{
    pumice_session *s = session;
    pumice_beam_params p;
    if (out_count) *out_count = 0;
    if (out_score) *out_score = 0;
    if (!s || !out_count || (capacity && !out_tokens)) return PUMICE_ERROR_INVALID;
    PUM_TRY(begin(s, seqs, count, params, &p));
    uint32_t prompt = (uint32_t)s->sequences[seqs[0]].tokens.count, room = s->size.n_ctx - prompt;
    search b = { .s = s, .params = &p, .seqs = seqs, .n = count, .prompt = prompt,
                 .max = p.max_tokens ? PUM_MIN(p.max_tokens, room) : room };
    uint64_t t0 = pum_now_ns();
    for (uint32_t i = 1; i < count; i++) pum_sequence_truncate(s, seqs[i], 0);
    pumice_status status = allocate(&b);
    if (status == PUMICE_OK) status = run(&b);
    if (status == PUMICE_OK) give_best(&b, out_tokens, capacity, out_count, out_score);
    finish(&b);
    s->timings.decode_ns += pum_now_ns() - t0;
    return status;
}
