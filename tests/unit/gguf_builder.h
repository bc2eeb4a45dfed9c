/* SPDX-License-Identifier: Apache-2.0
 * Makes GGUF images in memory for tests: put metadata and tensors in (the same name again replaces,
 * gb_drop takes away), gb_image writes the file. Writes whatever it is told, sense or nonsense.
 * Assumes a little-endian host. */
#ifndef GGUF_BUILDER_H
#define GGUF_BUILDER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"

enum { GB_MAX_ENTRIES = 256, GB_NAME_BYTES = 80, GB_ALIGNMENT = 32 };

typedef struct gb_entry {
    char name[GB_NAME_BYTES];
    uint32_t type;         /* of values: pum_gguf_type; of tensors: ggml's number */
    uint32_t n_dims;       /* of tensors */
    uint64_t ne[4];
    uint8_t *data;
    size_t bytes;
} gb_entry;

typedef struct gguf_builder {
    gb_entry kvs[GB_MAX_ENTRIES], tensors[GB_MAX_ENTRIES];
    size_t n_kvs, n_tensors;
    uint8_t *image;
    size_t image_bytes;
} gguf_builder;

static inline gb_entry *gb_entry_at(gb_entry *list, size_t *count, const char *name)
{
    size_t i = 0;
    while (i < *count && strcmp(list[i].name, name) != 0) i++;
    if (i == *count) {
        if (i == GB_MAX_ENTRIES || strlen(name) >= GB_NAME_BYTES) abort();
        list[(*count)++] = (gb_entry){ 0 };
        strcpy(list[i].name, name);
    }
    free(list[i].data);
    list[i].data = NULL;
    list[i].bytes = 0;
    return &list[i];
}

static inline void gb_append(uint8_t **data, size_t *bytes, const void *more, size_t count)
{
    *data = realloc(*data, *bytes + count + 1);
    if (!*data) abort();
    if (count && more) memcpy(*data + *bytes, more, count);
    else memset(*data + *bytes, 0, count);
    *bytes += count;
}

static inline void gb_value(gguf_builder *b, const char *key, pum_gguf_type type, const void *value,
                            size_t bytes)
{
    gb_entry *e = gb_entry_at(b->kvs, &b->n_kvs, key);
    e->type = type;
    gb_append(&e->data, &e->bytes, value, bytes);
}

static inline void gb_u32(gguf_builder *b, const char *key, uint32_t v)
{
    gb_value(b, key, PUM_GGUF_U32, &v, 4);
}
static inline void gb_i32(gguf_builder *b, const char *key, int32_t v)
{
    gb_value(b, key, PUM_GGUF_I32, &v, 4);
}
static inline void gb_f32(gguf_builder *b, const char *key, float v)
{
    gb_value(b, key, PUM_GGUF_F32, &v, 4);
}

static inline void gb_bool(gguf_builder *b, const char *key, bool v)
{
    uint8_t byte = v;
    gb_value(b, key, PUM_GGUF_BOOL, &byte, 1);
}

static inline void gb_add_str(gb_entry *e, const char *text)
{
    uint64_t n = strlen(text);
    gb_append(&e->data, &e->bytes, &n, 8);
    gb_append(&e->data, &e->bytes, text, n);
}

static inline void gb_str(gguf_builder *b, const char *key, const char *text)
{
    gb_entry *e = gb_entry_at(b->kvs, &b->n_kvs, key);
    e->type = PUM_GGUF_STRING;
    gb_add_str(e, text);
}

/* An array of numbers, item_bytes each. */
static inline void gb_array(gguf_builder *b, const char *key, pum_gguf_type item, const void *items,
                            uint64_t count, size_t item_bytes)
{
    uint32_t type = item;
    gb_entry *e = gb_entry_at(b->kvs, &b->n_kvs, key);
    e->type = PUM_GGUF_ARRAY;
    gb_append(&e->data, &e->bytes, &type, 4);
    gb_append(&e->data, &e->bytes, &count, 8);
    gb_append(&e->data, &e->bytes, items, count * item_bytes);
}

static inline void gb_str_array(gguf_builder *b, const char *key, const char *const *texts,
                                uint64_t count)
{
    gb_entry *e = gb_entry_at(b->kvs, &b->n_kvs, key);
    uint32_t type = PUM_GGUF_STRING;
    e->type = PUM_GGUF_ARRAY;
    gb_append(&e->data, &e->bytes, &type, 4);
    gb_append(&e->data, &e->bytes, &count, 8);
    for (uint64_t i = 0; i < count; i++) gb_add_str(e, texts[i]);
}

/* A tensor of rows x cols (rows 0: one dimension), `data` NULL = zeros. */
static inline void gb_tensor(gguf_builder *b, const char *name, pum_dtype type, uint64_t rows,
                             uint64_t cols, const void *data)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    gb_entry *e = gb_entry_at(b->tensors, &b->n_tensors, name);
    e->type = (uint32_t)info->gguf_type;
    e->n_dims = rows ? 2 : 1;
    e->ne[0] = cols;
    e->ne[1] = rows;
    gb_append(&e->data, &e->bytes, data,
              cols / info->block_elems * info->block_bytes * (rows ? rows : 1));
}

/* Takes a key or a tensor away. */
static inline void gb_drop(gguf_builder *b, const char *name)
{
    for (int list = 0; list < 2; list++) {
        gb_entry *entries = list ? b->tensors : b->kvs;
        size_t *count = list ? &b->n_tensors : &b->n_kvs;
        for (size_t i = 0; i < *count; i++) {
            if (strcmp(entries[i].name, name) != 0) continue;
            free(entries[i].data);
            memmove(&entries[i], &entries[i + 1], (*count - i - 1) * sizeof *entries);
            --*count;
            return;
        }
    }
}

static inline void gb_image_str(gguf_builder *b, const char *text)
{
    uint64_t n = strlen(text);
    gb_append(&b->image, &b->image_bytes, &n, 8);
    gb_append(&b->image, &b->image_bytes, text, n);
}

static inline void gb_pad(gguf_builder *b)
{
    gb_append(&b->image, &b->image_bytes, NULL,
              (GB_ALIGNMENT - b->image_bytes % GB_ALIGNMENT) % GB_ALIGNMENT);
}

/* Writes the file: b->image, b->image_bytes, alive until the next call or gb_free. */
static inline void gb_image(gguf_builder *b)
{
    const uint32_t version = 3;
    const uint64_t counts[] = { b->n_tensors, b->n_kvs };
    uint64_t offset = 0;
    b->image_bytes = 0;
    gb_append(&b->image, &b->image_bytes, "GGUF", 4);
    gb_append(&b->image, &b->image_bytes, &version, 4);
    gb_append(&b->image, &b->image_bytes, counts, 16);
    for (size_t i = 0; i < b->n_kvs; i++) {
        gb_image_str(b, b->kvs[i].name);
        gb_append(&b->image, &b->image_bytes, &b->kvs[i].type, 4);
        gb_append(&b->image, &b->image_bytes, b->kvs[i].data, b->kvs[i].bytes);
    }
    for (size_t i = 0; i < b->n_tensors; i++) {
        const gb_entry *t = &b->tensors[i];
        gb_image_str(b, t->name);
        gb_append(&b->image, &b->image_bytes, &t->n_dims, 4);
        gb_append(&b->image, &b->image_bytes, t->ne, 8 * t->n_dims);
        gb_append(&b->image, &b->image_bytes, &t->type, 4);
        gb_append(&b->image, &b->image_bytes, &offset, 8);
        offset += (t->bytes + GB_ALIGNMENT - 1) / GB_ALIGNMENT * GB_ALIGNMENT;
    }
    gb_pad(b);
    for (size_t i = 0; i < b->n_tensors; i++) {
        gb_append(&b->image, &b->image_bytes, b->tensors[i].data, b->tensors[i].bytes);
        gb_pad(b);
    }
}

static inline void gb_free(gguf_builder *b)
{
    for (size_t i = 0; i < b->n_kvs; i++) free(b->kvs[i].data);
    for (size_t i = 0; i < b->n_tensors; i++) free(b->tensors[i].data);
    free(b->image);
    *b = (gguf_builder){ 0 };
}

#endif
