/* SPDX-License-Identifier: Apache-2.0
 * Cuts special tokens out of a text. The longest token is looked for first, in all of the text,
 * then the next one in what is left: that order decides when two overlap (llama.cpp does it so). A
 * vocabulary may have thousands of special tokens, of which a text has few, so a bitmap of the
 * text's 4-byte groups rules nearly all of them out before they are searched for. */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

enum { GROUP_BYTES = 4, MIN_MAP_BITS = 1 << 12, MAX_MAP_BITS = 1 << 24 };

typedef struct group_map {
    uint64_t *words;
    uint32_t mask; /* bits - 1 */
} group_map;

typedef struct special_order {
    uint32_t bytes, id;
} special_order;

static int longest_first(const void *a, const void *b)
{
    const special_order *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

bool pum_special_init(pum_tokenizer *t)
{
    PUM_ARRAY(special_order) list = { 0 };
    bool ok = true;
    for (uint32_t i = 0; ok && i < t->count; i++) {
        uint8_t type = t->types[i];
        size_t n;
        pum_strings_at(&t->pieces, i, &n);
        if (n == 0 || (type != PUM_TOKEN_CONTROL && type != PUM_TOKEN_UNKNOWN &&
                       type != PUM_TOKEN_USER_DEFINED)) {
            continue;
        }
        special_order s = { (uint32_t)n, i };
        ok = pum_array_push(&list, s);
    }
    if (ok && list.count) qsort(list.data, list.count, sizeof *list.data, longest_first);
    ok = ok && pum_array_reserve(&t->specials, list.count);
    for (size_t i = 0; ok && i < list.count; i++)
        t->specials.data[t->specials.count++] = list.data[i].id;
    pum_array_free(&list);
    return ok;
}

/* ---- which 4-byte groups the text has ---- */

static uint32_t group_bit(const group_map *map, const char *p)
{
    uint32_t v;
    memcpy(&v, p, GROUP_BYTES);
    return (uint32_t)(v * 0x9e3779b97f4a7c15ull >> 32) & map->mask;
}

static bool map_make(group_map *map, const char *text, size_t bytes)
{
    size_t bits = MIN_MAP_BITS;
    while (bits < MAX_MAP_BITS && bits < 8 * bytes) bits *= 2;
    map->mask = (uint32_t)(bits - 1);
    map->words = pum_alloc_array(bits / 64, sizeof *map->words);
    if (!map->words) return false;
    for (size_t i = 0; i + GROUP_BYTES <= bytes; i++) {
        uint32_t bit = group_bit(map, text + i);
        map->words[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return true;
}

static bool map_may_have(const group_map *map, const char *piece, size_t bytes)
{
    for (size_t i = 0; i + GROUP_BYTES <= bytes; i++) {
        uint32_t bit = group_bit(map, piece + i);
        if (!(map->words[bit / 64] >> bit % 64 & 1)) return false;
    }
    return true;
}

/* ---- cutting ---- */

static const char *find(const char *text, size_t bytes, const char *piece, size_t n)
{
    const char *end = text + bytes;
    while ((size_t)(end - text) >= n) {
        text = memchr(text, piece[0], (size_t)(end - text) - n + 1);
        if (!text || memcmp(text, piece, n) == 0) return text;
        text++;
    }
    return NULL;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Appends the fragment, with every occurrence of token `id` in it cut out. */
static bool cut_fragment(const pum_tokenizer *t, const char *text, pum_fragment f, uint32_t id,
                         pum_fragments *out)
{
    size_t n;
    const char *piece = pum_strings_at(&t->pieces, id, &n);
    while (f.length) {
        const char *hit = find(text + f.start, f.length, piece, n);
        if (!hit) return pum_array_push(out, f);
        uint32_t at = (uint32_t)(hit - text), end = f.start + f.length;
        pum_fragment before = { f.start, at - f.start, -1 },
                     token = { at, (uint32_t)n, (int32_t)id };
        if (before.length && !pum_array_push(out, before)) return false;
        if (!pum_array_push(out, token)) return false;
        f.start = at + (uint32_t)n;
        if (t->flags[id] & PUM_TOKEN_EATS_RIGHT) {
            while (f.start < end && is_space(text[f.start])) f.start++;
        }
        f.length = end - f.start;
    }
    return true;
}

static bool occurs(const pum_tokenizer *t, const char *text, const pum_fragments *list, uint32_t id)
{
    size_t n;
    const char *piece = pum_strings_at(&t->pieces, id, &n);
    for (size_t i = 0; i < list->count; i++) {
        const pum_fragment *f = &list->data[i];
        if (f->id < 0 && find(text + f->start, f->length, piece, n)) return true;
    }
    return false;
}

bool pum_special_split(const pum_tokenizer *t, const char *text, size_t bytes, bool parse,
                       pum_fragments *out)
{
    out->count = 0;
    pum_fragments next = { 0 };
    group_map map = { 0 };
    pum_fragment all = { 0, (uint32_t)bytes, -1 };
    bool ok = bytes == 0 || pum_array_push(out, all);
    for (size_t i = 0; ok && bytes && i < t->specials.count; i++) {
        uint32_t id = t->specials.data[i];
        if (!parse && t->types[id] != PUM_TOKEN_USER_DEFINED) continue;
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, id, &n);
        if (n > bytes) continue;
        if (!map.words && !map_make(&map, text, bytes)) ok = false;
        if (!ok || !map_may_have(&map, piece, n) || !occurs(t, text, out, id)) continue;
        next.count = 0;
        for (size_t k = 0; ok && k < out->count; k++) {
            pum_fragment f = out->data[k];
            ok = f.id >= 0 ? pum_array_push(&next, f) : cut_fragment(t, text, f, id, &next);
        }
        pum_fragments swap = *out;
        *out = next;
        next = swap;
    }
    pum_free(map.words);
    pum_array_free(&next);
    return ok;
}
