/* SPDX-License-Identifier: Apache-2.0
 * Look-up of named things in an array that someone else owns: open addressing over indices. The
 * names may be hostile: names made to collide are refused when they are added, so that looking one
 * up stays cheap. Thread safety: as any plain data. */
#ifndef PUM_NAME_INDEX_H
#define PUM_NAME_INDEX_H

#include "base.h"

typedef struct pum_str { /* a view into memory that lives longer: not NUL-terminated */
    const char *data;
    size_t count;
} pum_str;

bool pum_str_equal(pum_str s, const char *text);
bool pum_str_begins(pum_str s, const char *with);
bool pum_str_ends(pum_str s, const char *with);
bool pum_str_holds(pum_str s, const char *part);

typedef struct pum_name_index {
    pum_str (*at)(const void *owner, size_t index); /* the name of an item */
    uint32_t *slots;                                /* index + 1, 0 = free */
    uint64_t mask, steps;                           /* steps: taken by all insertions so far */
} pum_name_index;

typedef enum pum_name_added { PUM_NAME_ADDED, PUM_NAME_TWICE, PUM_NAME_COLLIDES } pum_name_added;

/* Room for `count` names (below 2^32); false when out of memory. Free with pum_name_index_free. */
bool pum_name_index_init(pum_name_index *x, pum_str (*at)(const void *owner, size_t index),
                         uint64_t count);
void pum_name_index_free(pum_name_index *x);
/* Adds the item `index` of `owner`, whose name is at(owner, index). */
pum_name_added pum_name_index_add(pum_name_index *x, const void *owner, size_t index);
/* false if the name is not there. */
bool pum_name_index_find(const pum_name_index *x, const void *owner, pum_str name, size_t *out);

#endif
