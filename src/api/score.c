/* SPDX-License-Identifier: Apache-2.0
 * How likely given tokens are. Decides which tokens a model's objective counts and which rows need
 * logits for that; the softmax is a step of the pass (shaders/score.comp), so that two words a row
 * come back and no logits. */
#include "session.h"

#include <string.h>

/* Index of the first token that the objective counts. */
static size_t first_of_objective(const pum_sequence_layout *layout)
{
    if (layout->turn != UINT32_MAX) return (size_t)layout->turn + 1;
    return PUM_MAX(layout->prefix, 1u);
}

/* Evaluates the rows [at, at + n), each of which has the token after it as its target. */
static pumice_status score_rows(pumice_session *s, uint32_t seq, uint32_t at, uint32_t n,
                                pumice_token_score *out_scores)
{
    pum_sequence *q = &s->sequences[seq];
    pum_pass_key key = { .rows = n, .one_sequence = true, .head = PUM_HEAD_ALL,
                         .sampler = PUM_SAMPLER_SCORE };
    PUM_TRY(pum_sequence_own(s, seq, at));
    PUM_TRY(pum_run_prepare(s, &key, "a batch"));
    for (uint32_t r = 0; r < n; r++) {
        pum_row_write(s, r, seq, at + r);
        pum_session_words(s)[STEP_ROWS_AT + (size_t)r * STEP_ROW_WORDS + ROW_TARGET] =
            (uint32_t)q->tokens.data[at + r + 1];
    }
    s->logits_seq = -1;
    PUM_TRY(pum_run(s, &key));
    q->n_cached = PUM_MAX(q->n_cached, at + n);
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t *w = pum_session_words(s) + STEP_ROWS_AT + (size_t)r * STEP_ROW_WORDS;
        float logprob, top;
        memcpy(&logprob, w + ROW_LOGPROB, sizeof logprob);
        memcpy(&top, w + ROW_TOP, sizeof top);
        out_scores[at + r + 1] = (pumice_token_score){ logprob, (int32_t)top };
    }
    return PUMICE_OK;
}

/* What comes before the rows that are scored fills the cache alone, a prefix in one pass. */
static pumice_status evaluate_before(pumice_session *s, uint32_t seq, uint32_t end)
{
    pum_sequence *q = &s->sequences[seq];
    if (q->n_cached == 0 && q->layout.prefix > 0) {
        PUM_TRY(pum_session_evaluate(s, seq, 0, q->layout.prefix, PUM_HEAD_NONE));
    }
    while (q->n_cached < end) {
        uint32_t n = PUM_MIN(end - q->n_cached, s->size.n_batch);
        PUM_TRY(pum_session_evaluate(s, seq, q->n_cached, n, PUM_HEAD_NONE));
    }
    return PUMICE_OK;
}

static pumice_status score(pumice_session *s, uint32_t seq, size_t first,
                           pumice_token_score *out_scores)
{
    uint32_t end = (uint32_t)s->sequences[seq].tokens.count - 1; /* the last token is only scored */
    uint32_t chunk = PUM_MIN(s->size.n_batch, s->size.logits_rows);
    PUM_TRY(evaluate_before(s, seq, (uint32_t)first - 1));
    for (uint32_t at = (uint32_t)first - 1; at < end; at += chunk) {
        PUM_TRY(score_rows(s, seq, at, PUM_MIN(end - at, chunk), out_scores));
    }
    return PUMICE_OK;
}

static void forget_scores(pumice_token_score *out_scores, size_t count)
{
    for (size_t i = 0; i < count; i++) out_scores[i] = (pumice_token_score){ 0.0f, -1 };
}

pumice_status pumice_session_score(pumice_session *session, uint32_t seq, const int32_t *tokens,
                                   size_t count, size_t first, pumice_token_score *out_scores)
{
    pumice_session *s = session;
    if (!s || !out_scores) return PUMICE_ERROR_INVALID;
    forget_scores(out_scores, count);
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(pum_session_check_seq(s, seq));
    PUM_TRY(pum_session_check_tokens(s, tokens, count));
    pum_sequence *q = &s->sequences[seq];
    pum_sequence_layout layout = pum_sequence_layout_of(s, seq, tokens, count);
    if (first == 0) first = first_of_objective(&layout);
    if (first >= count) {
        return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                        "of %zu tokens, none is left to score from number %zu on", count, first);
    }
    PUM_TRY(pum_session_replace(s, seq, tokens, count));
    uint64_t t0 = pum_now_ns();
    uint32_t before = (uint32_t)PUM_MIN((size_t)q->n_cached, first - 1);
    pumice_status status = score(s, seq, first, out_scores);
    if (status == PUMICE_OK) s->timings.n_prompt_tokens += (uint32_t)count - 1 - before;
    s->timings.prompt_ns += pum_now_ns() - t0;
    if (status != PUMICE_OK) {
        pum_sequence_truncate(s, seq, q->n_cached);
        forget_scores(out_scores, count);
    }
    return status;
}
