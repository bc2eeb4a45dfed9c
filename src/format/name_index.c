/* SPDX-License-Identifier: Apache-2.0
 * The name index: linear probing over a table that is never more than half full. Adding counts the
 * steps it takes; far more of them than names means that the hashes were made to collide. */
#include "name_index.h"

#include <string.h>

enum { MAX_STEPS_PER_SLOT = 64 }; /* looking up takes one or two, unless names were made to */

bool pum_str_equal(pum_str s, const char *text)
{
    size_t n = strlen(text);
    return s.count == n && memcmp(s.data, text, n) == 0;
}

bool pum_str_begins(pum_str s, const char *with)
{
    size_t n = strlen(with);
    return s.count >= n && memcmp(s.data, with, n) == 0;
}

bool pum_str_ends(pum_str s, const char *with)
{
    size_t n = strlen(with);
    return s.count >= n && memcmp(s.data + s.count - n, with, n) == 0;
}

bool pum_str_holds(pum_str s, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= s.count; i++) {
        if (memcmp(s.data + i, part, n) == 0) return true;
    }
    return false;
}

bool pum_name_index_init(pum_name_index *x, pum_str (*at)(const void *owner, size_t index),
                         uint64_t count)
{
    uint64_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    *x = (pum_name_index){ .at = at, .mask = slots - 1 };
    x->slots = slots <= SIZE_MAX ? pum_alloc_array((size_t)slots, sizeof *x->slots) : NULL;
    return x->slots != NULL;
}

void pum_name_index_free(pum_name_index *x)
{
    pum_free(x->slots);
    *x = (pum_name_index){ 0 };
}

/* The slot that holds `name`, or the free one where it belongs. */
static uint32_t *find_slot(const pum_name_index *x, const void *owner, pum_str name,
                           uint64_t *steps)
{
    uint64_t h = pum_hash(PUM_HASH_START, name.data, name.count);
    for (uint64_t i = h ^ h >> 32;; i++) {
        uint32_t *slot = &x->slots[i & x->mask];
        if (*slot == 0) return slot;
        pum_str have = x->at(owner, *slot - 1);
        if (have.count == name.count && memcmp(have.data, name.data, name.count) == 0) return slot;
        ++*steps;
    }
}

pum_name_added pum_name_index_add(pum_name_index *x, const void *owner, size_t index)
{
    uint32_t *slot = find_slot(x, owner, x->at(owner, index), &x->steps);
    if (*slot) return PUM_NAME_TWICE;
    if (x->steps > MAX_STEPS_PER_SLOT * (x->mask + 1)) return PUM_NAME_COLLIDES;
    *slot = (uint32_t)index + 1;
    return PUM_NAME_ADDED;
}

bool pum_name_index_find(const pum_name_index *x, const void *owner, pum_str name, size_t *out)
{
    uint64_t steps = 0;
    if (!x->slots) return false;
    uint32_t slot = *find_slot(x, owner, name, &steps);
    if (slot) *out = slot - 1;
    return slot != 0;
}
