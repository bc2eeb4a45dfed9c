/* SPDX-License-Identifier: Apache-2.0
 * Copies of sequences. They share the pages of the KV cache until one of them writes: then it gets a
 * page of its own, and what stands before is copied. As many pages as all sequences may hold are
 * there, so a page that two share leaves one free. */
#include "session.h"

#include <string.h>

void pum_page_release(pumice_session *s, uint32_t page)
{
    if (--s->page_users[page] == 0) s->free_pages.data[s->free_pages.count++] = page;
}

/* Puts a fresh page in the place of a shared one. */
static pumice_status replace_page(pumice_session *s, uint32_t seq, uint32_t index, bool copy)
{
    pum_sequence *q = &s->sequences[seq];
    uint32_t old = q->pages.data[index];
    uint32_t page = s->free_pages.data[s->free_pages.count - 1];
    const pum_page_copy both = { old, page };
    if (copy) PUM_TRY(pum_run_copy_pages(s, false, &both, 1));
    s->free_pages.count--;
    s->page_users[page] = 1;
    pum_page_release(s, old);
    q->pages.data[index] = page;
    pum_session_table(s, seq)[index] = page;
    return PUMICE_OK;
}

pumice_status pum_sequence_own(pumice_session *s, uint32_t seq, uint32_t from)
{
    const pum_sequence *q = &s->sequences[seq];
    for (uint32_t i = from / KV_PAGE; i < q->pages.count; i++) {
        if (s->page_users[q->pages.data[i]] < 2) continue;
        PUM_TRY(replace_page(s, seq, i, i * KV_PAGE < from));
    }
    return PUMICE_OK;
}

/* ---- copies ---- */

static void free_copy(pum_sequence *q)
{
    pum_array_free(&q->tokens);
    pum_array_free(&q->pages);
}

static bool make_copy(const pum_sequence *q, pum_sequence *out)
{
    if (!pum_array_reserve(&out->tokens, q->tokens.count) ||
        !pum_array_reserve(&out->pages, q->pages.count)) return false;
    if (q->tokens.count) {
        memcpy(out->tokens.data, q->tokens.data, q->tokens.count * sizeof *q->tokens.data);
    }
    if (q->pages.count) {
        memcpy(out->pages.data, q->pages.data, q->pages.count * sizeof *q->pages.data);
    }
    out->tokens.count = q->tokens.count;
    out->pages.count = q->pages.count;
    out->n_cached = q->n_cached;
    out->prefix = q->prefix;
    out->layout = q->layout;
    return true;
}

static void take_copy(pumice_session *s, uint32_t seq, const pum_sequence *copy)
{
    pum_sequence *q = &s->sequences[seq];
    for (size_t i = 0; i < q->pages.count; i++) pum_page_release(s, q->pages.data[i]);
    free_copy(q);
    q->tokens = copy->tokens;
    q->pages.data = copy->pages.data;
    q->pages.count = copy->pages.count;
    q->pages.capacity = copy->pages.capacity;
    q->n_cached = copy->n_cached;
    q->prefix = copy->prefix;
    q->layout = copy->layout;
    if (q->pages.count) {
        memcpy(pum_session_table(s, seq), q->pages.data, q->pages.count * sizeof *q->pages.data);
    }
    if (s->logits_seq == (int64_t)seq) s->logits_seq = -1;
}

pumice_status pum_sequences_reorder(pumice_session *s, const uint32_t *seqs,
                                    const uint32_t *parents, uint32_t count)
{
    pum_sequence *copies = pum_alloc_array(count, sizeof *copies);
    uint32_t made = 0;
    bool fine = copies != NULL;
    for (; fine && made < count; made++) {
        fine = make_copy(&s->sequences[parents[made]], &copies[made]);
    }
    if (!fine) {
        for (uint32_t i = 0; i < made; i++) free_copy(&copies[i]);
        pum_free(copies);
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to copy a sequence");
    }
    for (uint32_t i = 0; i < count; i++) { /* before any is released */
        for (size_t k = 0; k < copies[i].pages.count; k++) {
            s->page_users[copies[i].pages.data[k]]++;
        }
    }
    for (uint32_t i = 0; i < count; i++) take_copy(s, seqs[i], &copies[i]);
    pum_free(copies);
    return PUMICE_OK;
}

pumice_status pum_input_copy(pumice_session *s, uint32_t from, uint32_t to)
{
    const pum_tokens *input = &s->sequences[from].input;
    pum_tokens *out = &s->sequences[to].input;
    uint32_t per_sequence = s->size.pages_per_sequence;
    uint32_t n = (uint32_t)pum_ceil_div(input->count, KV_PAGE);
    out->count = 0;
    if (s->states_seq == (int64_t)to) s->states_seq = -1;
    if (input->count == 0) return PUMICE_OK;
    pum_page_copy *pages = pum_alloc_array(n, sizeof *pages);
    if (!pages || !pum_array_reserve(out, input->count)) {
        pum_free(pages);
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to copy a sequence");
    }
    for (uint32_t i = 0; i < n; i++) {
        pages[i] = (pum_page_copy){ from * per_sequence + i, to * per_sequence + i };
    }
    pumice_status status = pum_run_copy_pages(s, true, pages, n);
    pum_free(pages);
    if (status != PUMICE_OK) return status;
    memcpy(out->data, input->data, input->count * sizeof *input->data);
    out->count = input->count;
    return PUMICE_OK;
}

pumice_status pumice_session_copy(pumice_session *session, uint32_t from, uint32_t to)
{
    pumice_session *s = session;
    if (!s) return PUMICE_ERROR_INVALID;
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(pum_session_check_seq(s, from));
    PUM_TRY(pum_session_check_seq(s, to));
    if (from == to) return PUMICE_OK;
    pum_sequence_truncate(s, to, 0);
    PUM_TRY(pum_input_copy(s, from, to));
    return pum_sequences_reorder(s, &to, &from, 1);
}
