/* SPDX-License-Identifier: Apache-2.0
 * The merge engine of both kinds of BPE: symbols in a chain, candidates in a heap. Joining makes
 * older candidates stale; a stale one is told by its length when it is taken out, so none is ever
 * searched for. Which pairs may be joined, and in what order, is the caller's `find`. n log n in
 * the number of symbols. */
#include "tokenizer_impl.h"

bool pum_merger_push(pum_merger *m, uint32_t start, uint32_t length, uint32_t id)
{
    int32_t i = (int32_t)m->symbols.count;
    pum_symbol s = { start, length, i - 1, -1, id };
    if (!pum_array_push(&m->symbols, s)) return false;
    if (i > 0) m->symbols.data[i - 1].next = i;
    return true;
}

static bool heap_push(pum_merger *m, pum_candidate c)
{
    if (!pum_array_push(&m->heap, c)) return false;
    pum_candidate *h = m->heap.data;
    size_t i = m->heap.count - 1;
    while (i > 0) {
        size_t up = (i - 1) / 2;
        if (h[up].order <= c.order) break;
        h[i] = h[up];
        i = up;
    }
    h[i] = c;
    return true;
}

static pum_candidate heap_pop(pum_merger *m)
{
    pum_candidate *h = m->heap.data, top = h[0], last = h[--m->heap.count];
    size_t n = m->heap.count, i = 0;
    for (;;) {
        size_t down = 2 * i + 1;
        if (down >= n) break;
        if (down + 1 < n && h[down + 1].order < h[down].order) down++;
        if (h[down].order >= last.order) break;
        h[i] = h[down];
        i = down;
    }
    if (n) h[i] = last;
    return top;
}

static bool consider(pum_merger *m, const pum_tokenizer *t, const char *text, pum_merge_find find,
                     int32_t left)
{
    if (left < 0) return true;
    const pum_symbol *a = &m->symbols.data[left];
    if (a->next < 0) return true;
    const pum_symbol *b = &m->symbols.data[a->next];
    uint32_t key, id;
    if (!find(t, text, a, b, &key, &id)) return true;
    return heap_push(
        m, (pum_candidate){ (uint64_t)key << 32 | (uint32_t)left, a->length + b->length, id });
}

bool pum_merger_run(pum_merger *m, const pum_tokenizer *t, const char *text, pum_merge_find find)
{
    m->heap.count = 0;
    for (int32_t i = 0; i + 1 < (int32_t)m->symbols.count; i++) {
        if (!consider(m, t, text, find, i)) return false;
    }
    pum_symbol *s = m->symbols.data;
    while (m->heap.count) {
        pum_candidate c = heap_pop(m);
        int32_t left = (int32_t)(uint32_t)c.order;
        pum_symbol *a = &s[left];
        /* A neighbour that was joined since has changed its length, and lengths only grow. */
        if (a->length == 0 || a->next < 0 || a->length + s[a->next].length != c.length) continue;
        pum_symbol *b = &s[a->next];
        a->length = c.length;
        a->id = c.id;
        a->next = b->next;
        if (b->next >= 0) s[b->next].prev = left;
        b->length = 0;
        if (!consider(m, t, text, find, a->prev) || !consider(m, t, text, find, left)) return false;
    }
    return true;
}

void pum_merger_free(pum_merger *m)
{
    pum_array_free(&m->symbols);
    pum_array_free(&m->heap);
}
