/* SPDX-License-Identifier: Apache-2.0
 * Sequences: their tokens, the pages of the KV cache they hold, and how both are written to the
 * step buffer. Pages are handed out when tokens come and taken back when they go, so sequences
 * share one cache. */
#include "session.h"

#include <string.h>

pumice_status pum_sequence_reserve(pumice_session *s, uint32_t seq, size_t count)
{
    pum_sequence *q = &s->sequences[seq];
    if (count > s->size.n_ctx) {
        return pum_fail(&s->err, PUMICE_ERROR_CONTEXT_FULL,
                        "%zu tokens do not fit the context of %u: ask for a larger "
                        "context or send fewer tokens",
                        count, s->size.n_ctx);
    }
    size_t need = (size_t)pum_ceil_div(count, KV_PAGE);
    if (need > q->pages.count && !pum_array_reserve(&q->pages, need - q->pages.count)) {
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the block table");
    }
    while (q->pages.count < need) {
        /* there are as many pages as all sequences together may hold, so one is always free */
        uint32_t page = s->free_pages.data[--s->free_pages.count];
        s->page_users[page] = 1;
        pum_session_table(s, seq)[q->pages.count] = page;
        q->pages.data[q->pages.count++] = page;
    }
    return pum_sequence_own(s, seq, (uint32_t)PUM_MIN((size_t)q->n_cached, count));
}

/* Index of a token, count if it is not there. */
static size_t find(const int32_t *tokens, size_t count, uint32_t token)
{
    size_t i = 0;
    while (i < count && (uint32_t)tokens[i] != token) i++;
    return i;
}

pum_sequence_layout pum_sequence_layout_of(const pumice_session *s, uint32_t seq,
                                           const int32_t *tokens, size_t count)
{
    int32_t prefix = s->sequences[seq].prefix;
    const pum_hparams *hp = &s->model->def.hp;
    pum_sequence_layout layout = { .turn = UINT32_MAX };
    /* ChatGLM-6B: up to <sop> the context, with positions as ever; from there on the position stays
     * where [gMASK] (or else [MASK]) is, and the block position counts. */
    size_t sop = find(tokens, count, hp->sop_token), mask = find(tokens, count, hp->gmask_token);
    if (mask == count) mask = find(tokens, count, hp->mask_token);
    if (sop < count && mask < count) {
        layout.turn = (uint32_t)sop;
        layout.stop = (uint32_t)mask;
        if (prefix == PUMICE_PREFIX_MODEL) prefix = (int32_t)sop;
    }
    layout.prefix = prefix > 1 ? (uint32_t)prefix : 0;
    /* LongRoPE: all of a long sequence is rotated by the long divisors, as the original does */
    layout.rope = hp->rope.kind == PUM_ROPE_LONG && count > hp->rope.original_ctx;
    return layout;
}

void pum_sequence_truncate(pumice_session *s, uint32_t seq, size_t count)
{
    pum_sequence *q = &s->sequences[seq];
    if (count < q->layout.prefix) count = 0; /* its first tokens have seen what is dropped */
    if (count < q->tokens.count) {
        q->tokens.count = count;
        if (s->logits_seq == (int64_t)seq) s->logits_seq = -1;
    }
    q->n_cached = (uint32_t)PUM_MIN((size_t)q->n_cached, count);
    size_t need = (size_t)pum_ceil_div(count, KV_PAGE);
    while (q->pages.count > need) pum_page_release(s, q->pages.data[--q->pages.count]);
}

pumice_status pum_sequence_append(pumice_session *s, uint32_t seq, int32_t token)
{
    pum_sequence *q = &s->sequences[seq];
    if (!pum_array_push(&q->tokens, token)) {
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a token");
    }
    return PUMICE_OK;
}

/* The block table of what the encoder made for a sequence, which the stages write. */
static uint32_t input_table(const pumice_session *s, uint32_t seq)
{
    return s->size.n_sequences + seq;
}

static uint32_t position(const pum_sequence_layout *layout, uint32_t index)
{
    return index < layout->turn ? index : layout->stop;
}

static uint32_t block_position(const pum_sequence_layout *layout, uint32_t index)
{
    return index < layout->turn ? 0 : index - layout->turn + 1;
}

void pum_row_write(pumice_session *s, uint32_t row, uint32_t seq, uint32_t index)
{
    uint32_t *w = pum_session_words(s) + STEP_ROWS_AT + (size_t)row * STEP_ROW_WORDS;
    const pum_sequence *q = &s->sequences[seq];
    w[ROW_TOKEN] = (uint32_t)q->tokens.data[index];
    w[ROW_POS] = position(&q->layout, index);
    w[ROW_SEQ] = seq;
    w[ROW_CELL] = index;
    w[ROW_LO] = 0;
    w[ROW_HI] = PUM_MAX(index + 1, q->layout.prefix);
    w[ROW_POS2] = block_position(&q->layout, index);
    w[ROW_ROPE] = q->layout.rope;
    w[ROW_SEQ2] = q->input.count ? input_table(s, seq) : ROW_INACTIVE;
    w[ROW_LO2] = 0;
    w[ROW_HI2] = (uint32_t)q->input.count;
    w[ROW_TARGET] = ROW_INACTIVE;
}

void pum_input_row_write(pumice_session *s, uint32_t row, uint32_t seq, uint32_t index)
{
    uint32_t *w = pum_session_words(s) + STEP_ROWS_AT + (size_t)row * STEP_ROW_WORDS;
    const pum_tokens *input = &s->sequences[seq].input;
    memset(w, 0, STEP_ROW_WORDS * sizeof *w);
    w[ROW_TOKEN] = (uint32_t)input->data[index];
    w[ROW_POS] = w[ROW_CELL] = index;
    w[ROW_SEQ] = input_table(s, seq);
    w[ROW_HI] = (uint32_t)input->count;
    w[ROW_SEQ2] = ROW_INACTIVE;
}

static uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

void pum_slot_write(pumice_session *s, uint32_t slot, uint32_t seq, uint32_t src_row,
                    uint32_t dst_row, const pumice_sampling *sampling)
{
    uint32_t *w = pum_session_words(s) + pum_session_step(s)->slot_at + (size_t)slot * STEP_SLOT_WORDS;
    uint32_t next = (uint32_t)s->sequences[seq].tokens.count;
    w[SLOT_SRC_ROW] = src_row;
    w[SLOT_DST_ROW] = dst_row;
    w[SLOT_TEMPERATURE] = float_bits(sampling->temperature);
    w[SLOT_TOP_K] = sampling->top_k;
    w[SLOT_TOP_P] = float_bits(sampling->top_p);
    w[SLOT_MIN_P] = float_bits(sampling->min_p);
    w[SLOT_SEED_LO] = (uint32_t)sampling->seed;
    w[SLOT_SEED_HI] = (uint32_t)(sampling->seed >> 32);
    w[SLOT_COUNTER] =
        next; /* the draw's number is the token's index: replaying a sequence replays its draws */
    w[SLOT_SEQ] = seq;
    w[SLOT_CELL] = next;
    const pum_sequence_layout *layout = &s->sequences[seq].layout;
    w[SLOT_POS] = position(layout, next);
    w[SLOT_POS2] = block_position(layout, next);
    w[SLOT_POS_STEP] = next < layout->turn;
    w[SLOT_POS2_STEP] = next >= layout->turn;
    w[SLOT_LO] = 0;
}

int32_t pum_slot_token(const pumice_session *s, uint32_t slot, uint32_t counter)
{
    const uint32_t *w = pum_session_words(s) + pum_session_step(s)->slot_at + (size_t)slot * STEP_SLOT_WORDS;
    return (int32_t)w[SLOT_RING + counter % STEP_RING];
}
