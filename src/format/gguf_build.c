/* SPDX-License-Identifier: Apache-2.0
 * A pum_gguf made in memory instead of read from a file: how every other form of a model becomes
 * the one that model/ and text/ read. Values are kept as a file would store them, so that the
 * look-ups of gguf.c and the writer serve both. Where a tensor's rows come from: gguf_rows.c. */
#include <string.h>

#include "gguf_internal.h"
#include "gguf_rows.h"

pumice_status pum_gguf_create(const char *name, void *owner, void (*release)(void *owner),
                              pum_gguf **out_gguf, pumice_error *err)
{
    *out_gguf = NULL;
    pum_gguf *g = pum_alloc(sizeof *g);
    if (g) g->path = pum_strdup(name);
    if (!g || !g->path) {
        pum_free(g);
        if (release) release(owner);
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", name);
    }
    g->owner = owner;
    g->release = release;
    g->version = 3;
    g->alignment = 32;
    *out_gguf = g;
    return PUMICE_OK;
}

/* ---- keys ---- */

/* A new entry whose payload of `bytes` bytes the caller fills; NULL once memory has run out. */
static uint8_t *put(pum_gguf *g, const char *key, pum_gguf_type type, pum_gguf_type item,
                    uint64_t count, uint64_t bytes)
{
    char *name = pum_arena_strdup(&g->arena, key);
    uint8_t *data = bytes <= SIZE_MAX ? pum_arena_alloc(&g->arena, (size_t)bytes) : NULL;
    if (!name || !data ||
        !pum_array_grow((void **)&g->kvs, &g->kvs_capacity, g->n_kvs + 1, sizeof *g->kvs)) {
        g->arena.failed = true;
        return NULL;
    }
    g->kvs[g->n_kvs++] = (pum_gguf_kv){ { name, strlen(name) }, { type, item, count, data } };
    return data;
}

static void put_scalar(pum_gguf *g, const char *key, pum_gguf_type type, const void *value)
{
    uint32_t bytes = pum_gguf_value_bytes(type);
    uint8_t *p = put(g, key, type, type, 1, bytes);
    if (p) memcpy(p, value, bytes);
}

void pum_gguf_set_u32(pum_gguf *gguf, const char *key, uint32_t value)
{
    put_scalar(gguf, key, PUM_GGUF_U32, &value);
}

void pum_gguf_set_i32(pum_gguf *gguf, const char *key, int32_t value)
{
    put_scalar(gguf, key, PUM_GGUF_I32, &value);
}

void pum_gguf_set_u64(pum_gguf *gguf, const char *key, uint64_t value)
{
    put_scalar(gguf, key, PUM_GGUF_U64, &value);
}

void pum_gguf_set_f32(pum_gguf *gguf, const char *key, float value)
{
    put_scalar(gguf, key, PUM_GGUF_F32, &value);
}

void pum_gguf_set_bool(pum_gguf *gguf, const char *key, bool value)
{
    uint8_t byte = value;
    put_scalar(gguf, key, PUM_GGUF_BOOL, &byte);
}

static uint8_t *write_str(uint8_t *p, pum_str s)
{
    uint64_t count = s.count;
    memcpy(p, &count, 8);
    if (s.count) memcpy(p + 8, s.data, s.count);
    return p + 8 + s.count;
}

void pum_gguf_set_str(pum_gguf *gguf, const char *key, pum_str value)
{
    uint8_t *p = put(gguf, key, PUM_GGUF_STRING, PUM_GGUF_STRING, 1, 8 + (uint64_t)value.count);
    if (p) write_str(p, value);
}

void pum_gguf_set_text(pum_gguf *gguf, const char *key, const char *value)
{
    pum_gguf_set_str(gguf, key, (pum_str){ value, strlen(value) });
}

void pum_gguf_set_array(pum_gguf *gguf, const char *key, pum_gguf_type item_type, const void *items,
                        uint64_t count)
{
    uint64_t bytes = count * pum_gguf_value_bytes(item_type);
    uint8_t *p = put(gguf, key, PUM_GGUF_ARRAY, item_type, count, bytes);
    if (p && bytes) memcpy(p, items, (size_t)bytes);
}

void pum_gguf_set_strs(pum_gguf *gguf, const char *key, const pum_str *items, uint64_t count)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < count; i++) bytes += 8 + (uint64_t)items[i].count;
    uint8_t *p = put(gguf, key, PUM_GGUF_ARRAY, PUM_GGUF_STRING, count, bytes);
    for (uint64_t i = 0; p && i < count; i++) p = write_str(p, items[i]);
}

void pum_gguf_set_value(pum_gguf *gguf, const char *key, const pum_gguf_value *value)
{
    uint64_t bytes = pum_gguf_payload_bytes(value);
    uint8_t *p = put(gguf, key, value->type, value->item_type, value->count, bytes);
    if (p && bytes) memcpy(p, value->data, (size_t)bytes);
}

uint64_t pum_gguf_payload_bytes(const pum_gguf_value *value)
{
    bool array = value->type == PUM_GGUF_ARRAY;
    pum_gguf_type item = array ? value->item_type : value->type;
    if (item != PUM_GGUF_STRING) return value->count * pum_gguf_value_bytes(item);
    const uint8_t *p = value->data;
    for (uint64_t i = 0; i < value->count; i++) {
        uint64_t count;
        memcpy(&count, p, 8);
        p += 8 + count;
    }
    return (uint64_t)(p - value->data);
}

/* ---- tensors ---- */

static pumice_status no_memory(const pum_gguf *g, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", g->path);
}

pumice_status pum_gguf_add_tensor(pum_gguf *gguf, const char *name, pum_dtype type, uint32_t n_dims,
                                  const uint64_t *ne, const pum_gguf_part *parts, uint32_t n_parts,
                                  pumice_error *err)
{
    pum_gguf_tensor t = { .type = type, .n_dims = n_dims, .ne = { 1, 1, 1, 1 }, .n_parts = n_parts };
    uint64_t rows = 1;
    for (uint32_t i = 0; i < n_dims; i++) t.ne[i] = ne[i];
    for (uint32_t i = 1; i < n_dims; i++) {
        if (!pum_mul_u64(rows, ne[i], &rows)) rows = UINT64_MAX;
    }
    if (!pum_dtype_row_bytes(type, ne[0], &t.bytes) || !pum_mul_u64(t.bytes, rows, &t.bytes) ||
        t.bytes > INT64_MAX || t.bytes == 0) {
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s': tensor '%s' has an impossible size",
                        gguf->path, name);
    }
    PUM_TRY(pum_gguf_parts_check(gguf, name, &t, parts, rows, err));
    char *copy = pum_arena_strdup(&gguf->arena, name);
    pum_gguf_part *own = pum_arena_alloc(&gguf->arena, n_parts * sizeof *own + 1);
    if (!copy || !own ||
        !pum_array_grow((void **)&gguf->tensors, &gguf->tensors_capacity, gguf->n_tensors + 1,
                        sizeof *gguf->tensors)) {
        return no_memory(gguf, err);
    }
    if (n_parts) memcpy(own, parts, n_parts * sizeof *own);
    t.name = (pum_str){ copy, strlen(copy) };
    t.parts = n_parts ? own : NULL;
    if (n_parts) t.data = pum_gguf_in_one_piece(&t);
    gguf->tensors[gguf->n_tensors++] = t;
    gguf->size += n_parts ? t.bytes : 0;
    return PUMICE_OK;
}

pumice_status pum_gguf_add_f32(pum_gguf *gguf, const char *name, const float *values, uint64_t count,
                               pumice_error *err)
{
    float *copy = pum_arena_alloc(&gguf->arena, (size_t)count * sizeof *copy);
    if (!copy) return no_memory(gguf, err);
    memcpy(copy, values, (size_t)count * sizeof *copy);
    const pum_gguf_part part = { .data = (const uint8_t *)copy, .type = PUM_DTYPE_F32,
                                 .elems = count, .rows = 1, .size = { 1, 1, 1 }, .col_stride = 1 };
    return pum_gguf_add_tensor(gguf, name, PUM_DTYPE_F32, 1, &count, &part, 1, err);
}

/* ---- sealing ---- */

static pumice_status index_names(pum_gguf *g, pum_name_index *x, size_t count, const char *what,
                                 pumice_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (pum_name_index_add(x, g, i) == PUM_NAME_ADDED) continue;
        pum_str name = x->at(g, i);
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' gives the %s '%.*s' twice", g->path, what,
                        (int)PUM_MIN(name.count, (size_t)80), name.data);
    }
    return PUMICE_OK;
}

pumice_status pum_gguf_seal(pum_gguf *gguf, pumice_error *err)
{
    if (!pum_arena_ok(&gguf->arena) ||
        !pum_name_index_init(&gguf->kv_index, pum_gguf_kv_name, gguf->n_kvs) ||
        !pum_name_index_init(&gguf->tensor_index, pum_gguf_tensor_name, gguf->n_tensors)) {
        return no_memory(gguf, err);
    }
    PUM_TRY(index_names(gguf, &gguf->kv_index, gguf->n_kvs, "key", err));
    return index_names(gguf, &gguf->tensor_index, gguf->n_tensors, "tensor", err);
}
