/* SPDX-License-Identifier: Apache-2.0
 * Host memory: checked allocation, growing arrays, arenas and texts. Every block comes from
 * malloc's family here and nowhere else, so that tests can make the n-th one fail. */
#include "base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool pum_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a != 0 && b > UINT64_MAX / a) return false;
    *out = a * b;
    return true;
}

bool pum_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a) return false;
    *out = a + b;
    return true;
}

void *pum_alloc(size_t bytes) { return calloc(1, bytes ? bytes : 1); }

void *pum_alloc_array(size_t count, size_t item_bytes)
{
    uint64_t bytes;
    if (!pum_mul_u64(count, item_bytes, &bytes) || bytes > SIZE_MAX) return NULL;
    return pum_alloc((size_t)bytes);
}

void *pum_realloc(void *p, size_t bytes) { return realloc(p, bytes ? bytes : 1); }

void pum_free(void *p) { free(p); }

void pum_heap_reserve(void)
{
#ifdef __GLIBC__
    const size_t bytes = 8 << 20;
    /* a block of this size lies outside of the heap until the first such is freed */
    char *volatile block = malloc(bytes + 2 * PUM_PAGE_BYTES);
    free(block);
    block = malloc(bytes);
    if (block) pum_memory_large_pages(block, bytes);
    free(block);
#endif
}

char *pum_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = pum_alloc(n);
    if (copy) memcpy(copy, s, n);
    return copy;
}

bool pum_array_grow(void **data, size_t *capacity, size_t need, size_t item_bytes)
{
    if (need <= *capacity) return true;
    size_t cap = PUM_MAX(*capacity + *capacity / 2, PUM_MAX(need, 8));
    uint64_t bytes;
    if (!pum_mul_u64(cap, item_bytes, &bytes) || bytes > SIZE_MAX) return false;
    void *p = pum_realloc(*data, (size_t)bytes);
    if (!p) return false;
    *data = p;
    *capacity = cap;
    return true;
}

/* ---- arena ---- */

enum { ARENA_BLOCK_BYTES = 64 * 1024 };

struct pum_arena_block {
    struct pum_arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

void *pum_arena_alloc(pum_arena *arena, size_t bytes)
{
    if (arena->failed || bytes > SIZE_MAX / 2) {
        arena->failed = true;
        return NULL;
    }
    size_t need = (size_t)pum_align_up(bytes ? bytes : 1, 16);
    struct pum_arena_block *block = arena->head;
    if (!block || block->size - block->used < need) {
        size_t size = PUM_MAX(need, (size_t)ARENA_BLOCK_BYTES);
        block = pum_alloc(sizeof *block + size);
        if (!block) {
            arena->failed = true;
            return NULL;
        }
        block->size = size;
        block->next = arena->head;
        arena->head = block;
    }
    void *p = block->data + block->used;
    block->used += need;
    return p;
}

char *pum_arena_strdup(pum_arena *arena, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = pum_arena_alloc(arena, n);
    if (copy) memcpy(copy, s, n);
    return copy;
}

char *pum_arena_printf(pum_arena *arena, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    return pum_arena_strdup(arena, line);
}

void pum_arena_free(pum_arena *arena)
{
    while (arena->head) {
        struct pum_arena_block *next = arena->head->next;
        pum_free(arena->head);
        arena->head = next;
    }
    arena->failed = false;
}

/* ---- text ---- */

void pum_text_add(pum_text *text, const char *bytes, size_t count)
{
    if (text->failed) return;
    if (count > SIZE_MAX - text->count - 1 ||
        !pum_array_grow((void **)&text->data, &text->capacity, text->count + count + 1, 1)) {
        text->failed = true;
        return;
    }
    if (count) memcpy(text->data + text->count, bytes, count);
    text->count += count;
    text->data[text->count] = '\0';
}

void pum_text_printf(pum_text *text, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0 && !text->failed &&
        pum_array_grow((void **)&text->data, &text->capacity, text->count + (size_t)n + 1, 1)) {
        vsnprintf(text->data + text->count, (size_t)n + 1, fmt, again);
        text->count += (size_t)n;
    } else {
        text->failed = true;
    }
    va_end(again);
}

void pum_text_free(pum_text *text)
{
    pum_free(text->data);
    *text = (pum_text){ 0 };
}
