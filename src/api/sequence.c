/* SPDX-License-Identifier: Apache-2.0
 * Sequences: their tokens, the pages of the KV cache they hold, and how both are written to the
 * step buffer. Pages are handed out when tokens come and taken back when they go, so sequences
 * share one cache. */
#include "session.h"

#include <string.h>

static uint32_t *table(const pumice_session *s, uint32_t seq)
{
    return s->words + s->size.step.table_at + (size_t)seq * s->size.step.table_stride;
}

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
        table(s, seq)[q->pages.count] = page;
        q->pages.data[q->pages.count++] = page;
    }
    return PUMICE_OK;
}

pum_sequence_layout pum_sequence_layout_of(const pumice_session *s, uint32_t seq,
                                           const int32_t *tokens, size_t count)
{
    int32_t prefix = s->sequences[seq].prefix;
    (void)tokens, (void)count;
    return (pum_sequence_layout){ .prefix = prefix > 1 ? (uint32_t)prefix : 0 };
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
    while (q->pages.count > need)
        s->free_pages.data[s->free_pages.count++] = q->pages.data[--q->pages.count];
}

pumice_status pum_sequence_append(pumice_session *s, uint32_t seq, int32_t token)
{
    pum_sequence *q = &s->sequences[seq];
    if (!pum_array_push(&q->tokens, token)) {
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a token");
    }
    return PUMICE_OK;
}

void pum_row_write(pumice_session *s, uint32_t row, uint32_t seq, uint32_t index)
{
    uint32_t *w = s->words + STEP_ROWS_AT + (size_t)row * STEP_ROW_WORDS;
    const pum_sequence *q = &s->sequences[seq];
    w[ROW_TOKEN] = (uint32_t)q->tokens.data[index];
    w[ROW_POS] = index;
    w[ROW_SEQ] = seq;
    w[ROW_CELL] = index;
    w[ROW_LO] = 0;
    w[ROW_HI] = PUM_MAX(index + 1, q->layout.prefix);
    w[ROW_POS2] = 0;
    w[ROW_FLAGS] = 0;
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
    uint32_t *w = s->words + s->size.step.slot_at + (size_t)slot * STEP_SLOT_WORDS;
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
    w[SLOT_POS] = next;
    w[SLOT_POS_STEP] = 1;
    w[SLOT_POS2] = w[SLOT_POS2_STEP] = 0;
    w[SLOT_LO] = 0;
}

int32_t pum_slot_token(const pumice_session *s, uint32_t slot, uint32_t counter)
{
    const uint32_t *w = s->words + s->size.step.slot_at + (size_t)slot * STEP_SLOT_WORDS;
    return (int32_t)w[SLOT_RING + counter % STEP_RING];
}
