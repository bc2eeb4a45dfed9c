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

/* The trie of added tokens. */
static bool init_added(pum_tokenizer *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (n && (t->flags[i] & PUM_TOKEN_ADDED) && !pum_trie_add(&t->added, piece, n, (int32_t)i))
            return false;
    }
    return true;
}

bool pum_special_init(pum_tokenizer *t)
{
    if (t->split_longest) return init_added(t);
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
        if (type == PUM_TOKEN_USER_DEFINED && t->inline_user) continue;
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

/* ---- leftmost, longest: added tokens of Hugging Face's files ---- */

size_t pum_space_length(const char *s, size_t bytes)
{
    uint8_t a = (uint8_t)s[0], b = bytes > 1 ? (uint8_t)s[1] : 0, c = bytes > 2 ? (uint8_t)s[2] : 0;
    if (is_space(s[0])) return 1;
    if (a == 0xc2) return b == 0x85 || b == 0xa0 ? 2 : 0;
    if (a == 0xe1) return b == 0x9a && c == 0x80 ? 3 : 0;
    if (a == 0xe3) return b == 0x80 && c == 0x80 ? 3 : 0;
    if (a != 0xe2) return 0;
    if (b == 0x81) return c == 0x9f ? 3 : 0;
    return b == 0x80 && ((c >= 0x80 && c <= 0x8a) || c == 0xa8 || c == 0xa9 || c == 0xaf) ? 3 : 0;
}

/* A letter, digit or underscore of ASCII, or any character beyond it. */
static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' ||
           (uint8_t)c >= 0x80;
}

/* The longest added token at text[at] that may be cut out there. */
static int32_t added_at(const pum_tokenizer *t, const char *text, size_t bytes, size_t at,
                        bool parse, size_t *out_length)
{
    int32_t best = -1;
    uint32_t node = 0;
    for (size_t i = at; i < bytes; i++) {
        node = pum_trie_step(&t->added, node, text[i]);
        if (!node) break;
        int32_t id = t->added.values.data[node];
        if (id < 0 || (!parse && t->types[id] != PUM_TOKEN_USER_DEFINED)) continue;
        bool stands_alone = !(at > 0 && is_word(text[at - 1])) &&
                            !(i + 1 < bytes && is_word(text[i + 1]));
        if ((t->flags[id] & PUM_TOKEN_WHOLE_WORD) && !stands_alone) continue;
        best = id;
        *out_length = i + 1 - at;
    }
    return best;
}

static size_t spaces_before(const char *text, size_t from, size_t at)
{
    for (;;) {
        size_t n = 1;
        while (n <= 3 && at - from >= n && pum_space_length(text + at - n, n) != n) n++;
        if (n > 3 || at - from < n) return at;
        at -= n;
    }
}

static bool split_longest(const pum_tokenizer *t, const char *text, size_t bytes, bool parse,
                          pum_fragments *out)
{
    size_t from = 0;
    for (size_t at = 0; at < bytes;) {
        size_t n = 0;
        int32_t id = added_at(t, text, bytes, at, parse, &n);
        if (id < 0) {
            at++;
            continue;
        }
        size_t start = t->flags[id] & PUM_TOKEN_EATS_LEFT ? spaces_before(text, from, at) : at;
        size_t end = at + n;
        while ((t->flags[id] & PUM_TOKEN_EATS_RIGHT) && end < bytes &&
               pum_space_length(text + end, bytes - end)) {
            end += pum_space_length(text + end, bytes - end);
        }
        pum_fragment before = { (uint32_t)from, (uint32_t)(start - from), -1 },
                     token = { (uint32_t)at, (uint32_t)n, id };
        if (before.length && !pum_array_push(out, before)) return false;
        if (!pum_array_push(out, token)) return false;
        from = at = end;
    }
    pum_fragment rest = { (uint32_t)from, (uint32_t)(bytes - from), -1 };
    return from == bytes || pum_array_push(out, rest);
}

bool pum_special_split(const pum_tokenizer *t, const char *text, size_t bytes, bool parse,
                       pum_fragments *out)
{
    out->count = 0;
    if (t->split_longest) return split_longest(t, text, bytes, parse, out);
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
