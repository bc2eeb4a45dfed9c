/* SPDX-License-Identifier: Apache-2.0
 * A trie over bytes: one hash table of edges, keyed by parent and byte. Walking it finds all the
 * strings that begin at a place of a text. The first of equal strings counts. */
#include "tokenizer_impl.h"

#include <string.h>

enum { MAX_NODES = 1 << 24 }; /* a key is 24 bits of parent and 8 of byte */

static pum_trie_edge *edge_slot(const pum_trie *t, uint32_t key, uint64_t *steps)
{
    uint32_t h = (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 32);
    for (;; h++) {
        pum_trie_edge *e = &t->edges[h & t->mask];
        if (e->child == 0 || e->key == key) return e;
        ++*steps;
    }
}

static bool grow(pum_trie *t)
{
    size_t n = t->edges ? 2 * ((size_t)t->mask + 1) : 1024;
    pum_trie_edge *old = t->edges, *edges = pum_alloc_array(n, sizeof *edges);
    if (!edges) return false;
    size_t n_old = old ? (size_t)t->mask + 1 : 0;
    t->edges = edges;
    t->mask = (uint32_t)(n - 1);
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].child) *edge_slot(t, old[i].key, &t->steps) = old[i];
    }
    pum_free(old);
    return true;
}

bool pum_trie_add(pum_trie *t, const char *bytes, size_t count, int32_t value)
{
    if (t->values.count == 0 && (!pum_array_push(&t->values, -1) || !grow(t))) return false;
    uint32_t node = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t key = node << 8 | (uint8_t)bytes[i];
        pum_trie_edge *e = edge_slot(t, key, &t->steps);
        if (!e->child) {
            uint32_t next = (uint32_t)t->values.count;
            if (next >= MAX_NODES || !pum_array_push(&t->values, -1)) return false;
            if (t->steps > PUM_STEPS_PER_SLOT * ((uint64_t)t->mask + 1)) return false;
            *e = (pum_trie_edge){ key, next };
            node = next;
            if (2 * t->values.count > t->mask && !grow(t)) return false;
        } else {
            node = e->child;
        }
    }
    if (t->values.data[node] < 0) t->values.data[node] = value;
    return true;
}

uint32_t pum_trie_step(const pum_trie *t, uint32_t node, char byte)
{
    uint64_t steps = 0;
    if (!t->edges) return 0;
    return edge_slot(t, node << 8 | (uint8_t)byte, &steps)->child;
}

int32_t pum_trie_longest(const pum_trie *t, const char *bytes, size_t count, size_t *out_length)
{
    int32_t best = -1;
    uint32_t node = 0;
    *out_length = 0;
    for (size_t i = 0; i < count; i++) {
        node = pum_trie_step(t, node, bytes[i]);
        if (!node) break;
        if (t->values.data[node] >= 0) {
            best = t->values.data[node];
            *out_length = i + 1;
        }
    }
    return best;
}

void pum_trie_free(pum_trie *t)
{
    pum_free(t->edges);
    pum_array_free(&t->values);
    *t = (pum_trie){ 0 };
}
