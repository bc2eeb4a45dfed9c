/* SPDX-License-Identifier: Apache-2.0
 * A table of strings in one block, and a hash index over chosen ones of them. The first of equal
 * strings is the one found. Decides nothing about tokens. */
#include "tokenizer_impl.h"

#include <string.h>

bool pum_strings_add(pum_strings *s, const char *bytes, size_t count)
{
    if (s->start.count == 0 && !pum_array_push(&s->start, 0)) return false;
    if (count >= INT32_MAX || s->bytes.count + count >= INT32_MAX) return false;
    if (!pum_array_reserve(&s->bytes, count + 1) || !pum_array_reserve(&s->start, 1)) return false;
    if (count) memcpy(s->bytes.data + s->bytes.count, bytes, count);
    s->bytes.data[s->bytes.count + count] = '\0';
    s->bytes.count += count + 1;
    s->start.data[s->start.count++] = (uint32_t)s->bytes.count;
    return true;
}

void pum_strings_free(pum_strings *s)
{
    pum_array_free(&s->bytes);
    pum_array_free(&s->start);
    pum_free(s->slots);
    *s = (pum_strings){ 0 };
}

static uint64_t hash_of(const char *bytes, size_t count)
{
    uint64_t h = pum_hash(PUM_HASH_START, bytes, count);
    return h ^ h >> 29; /* the low bits of FNV-1a know little of the last bytes' high bits */
}

/* The slot of an equal string, or the free one where it belongs. */
static pum_string_slot *slot_of(const pum_strings *s, uint64_t hash, const char *bytes,
                                size_t count, uint64_t *steps)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    for (uint32_t i = (uint32_t)hash;; i++) {
        pum_string_slot *slot = &s->slots[i & s->mask];
        if (slot->id == 0) return slot;
        if (slot->tag == tag && slot->count == count &&
            memcmp(s->bytes.data + slot->start, bytes, count) == 0) {
            return slot;
        }
        ++*steps;
    }
}

/* Makes room for `count` indexed strings, putting those that are there into the new slots. */
static bool grow(pum_strings *s, uint32_t count)
{
    uint64_t n_slots = 16;
    while (n_slots < 2 * (uint64_t)count) n_slots *= 2;
    if (n_slots > (uint64_t)1 << 31) return false;
    pum_string_slot *old = s->slots, *slots = pum_alloc_array((size_t)n_slots, sizeof *slots);
    if (!slots) return false;
    size_t n_old = old ? (size_t)s->mask + 1 : 0;
    s->slots = slots;
    s->mask = (uint32_t)(n_slots - 1);
    for (size_t i = 0; i < n_old; i++) {
        if (!old[i].id) continue;
        const char *bytes = s->bytes.data + old[i].start;
        size_t n = old[i].count;
        *slot_of(s, hash_of(bytes, n), bytes, n, &s->steps) = old[i];
    }
    pum_free(old);
    return true;
}

bool pum_strings_index(pum_strings *s, uint32_t count)
{
    return s->slots && count <= s->mask / 2 ? true : grow(s, count);
}

bool pum_strings_index_add(pum_strings *s, uint32_t id, uint32_t *out_id)
{
    *out_id = PUM_NO_ID;
    size_t count;
    const char *bytes = pum_strings_at(s, id, &count);
    uint64_t hash = hash_of(bytes, count);
    if (s->n_indexed >= s->mask / 2 && !grow(s, 2 * s->n_indexed + 16)) return false;
    pum_string_slot *slot = slot_of(s, hash, bytes, count, &s->steps);
    *out_id = slot->id ? slot->id - 1 : id;
    if (slot->id) return true;
    if (s->steps > PUM_STEPS_PER_SLOT * ((uint64_t)s->mask + 1)) return false;
    *slot = (pum_string_slot){ (uint32_t)(hash >> 32), id + 1, s->start.data[id], (uint32_t)count };
    s->n_indexed++;
    return true;
}

uint32_t pum_strings_find(const pum_strings *s, const char *bytes, size_t count)
{
    if (!s->slots) return PUM_NO_ID;
    uint64_t steps = 0;
    return slot_of(s, hash_of(bytes, count), bytes, count, &steps)->id - 1; /* 0 - 1 = PUM_NO_ID */
}
