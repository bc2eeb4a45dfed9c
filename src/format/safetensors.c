/* SPDX-License-Identifier: Apache-2.0
 * The safetensors reader. The header is parsed by jansson and checked entry by entry; memory is
 * taken in proportion to the header, which lies in the file. Tensors of types that no model uses
 * (masks, counters) are let through as long as their range is good.
 * Format: the README of the safetensors project. */
#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

enum { MAX_HEADER_BYTES = 100 << 20, MAX_NAME_BYTES = 1024 };

static const struct {
    const char *name;
    uint32_t bytes;
    bool is_weight;
    pum_dtype type;
} dtypes[] = {
    { "F32", 4, true, PUM_DTYPE_F32 },   { "F16", 2, true, PUM_DTYPE_F16 },
    { "BF16", 2, true, PUM_DTYPE_BF16 }, { "F64", 8, false, PUM_DTYPE_F64 },
    { "I64", 8, false, PUM_DTYPE_I64 },  { "I32", 4, false, PUM_DTYPE_I32 },
    { "I16", 2, false, PUM_DTYPE_I16 },  { "I8", 1, false, PUM_DTYPE_I8 },
    { "U8", 1, false, PUM_DTYPE_I8 },    { "BOOL", 1, false, PUM_DTYPE_I8 },
    { "U16", 2, false, PUM_DTYPE_I16 },  { "U32", 4, false, PUM_DTYPE_I32 },
    { "U64", 8, false, PUM_DTYPE_I64 },
};

struct pum_st {
    pum_file file;
    const uint8_t *data;
    uint64_t size;
    char *path;
    json_t *header; /* owns the names */
    pum_st_tensor *tensors;
    size_t count;
    pum_name_index index;
};

static pum_str tensor_name(const void *owner, size_t index)
{
    return ((const pum_st *)owner)->tensors[index].name;
}

static pumice_status damaged(const pum_st *st, pumice_error *err, const char *tensor,
                             const char *why)
{
    return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' is cut off or damaged: tensor '%.80s' %s",
                    st->path, tensor, why);
}

static pumice_status no_memory(const pum_st *st, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", st->path);
}

/* ---- one entry of the header ---- */

static bool is_name(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > MAX_NAME_BYTES) return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < ' ' || s[i] == 0x7f) return false;
    }
    return true;
}

static pumice_status read_shape(const pum_st *st, const json_t *entry, pum_st_tensor *t,
                                pumice_error *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > PUM_ST_MAX_DIMS) {
        return damaged(st, err, t->name.data, "has no shape of 0 to 8 dimensions");
    }
    t->n_dims = (uint32_t)n;
    t->elems = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0 ||
            !pum_mul_u64(t->elems, (uint64_t)json_integer_value(d), &t->elems) ||
            t->elems > INT64_MAX) {
            return damaged(st, err, t->name.data, "has an impossible shape");
        }
        t->shape[i] = (uint64_t)json_integer_value(d);
    }
    return PUMICE_OK;
}

/* The range [begin, end) within the bytes after the header. */
static pumice_status read_range(const pum_st *st, const json_t *entry, uint64_t base,
                                pum_st_tensor *t, pumice_error *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e)) {
        return damaged(st, err, t->name.data, "has no data_offsets of two whole numbers");
    }
    int64_t begin = json_integer_value(b), end = json_integer_value(e);
    if (begin < 0 || end < begin || (uint64_t)end > st->size - base) {
        return damaged(st, err, t->name.data,
                       "has data_offsets that pass the end of the file; download it again");
    }
    t->data = st->data + base + begin;
    t->bytes = (uint64_t)(end - begin);
    return PUMICE_OK;
}

static pumice_status read_dtype(const pum_st *st, const json_t *entry, pum_st_tensor *t,
                                pumice_error *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype) return damaged(st, err, t->name.data, "has no dtype");
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    for (size_t i = 0; i < PUM_COUNT(dtypes); i++) {
        uint64_t bytes;
        if (strcmp(dtypes[i].name, dtype) != 0) continue;
        t->is_weight = dtypes[i].is_weight;
        t->type = dtypes[i].type;
        if (!pum_mul_u64(t->elems, dtypes[i].bytes, &bytes) || bytes != t->bytes) {
            return damaged(st, err, t->name.data,
                           "has data_offsets that do not fit its shape and dtype");
        }
    }
    return PUMICE_OK;
}

static pumice_status read_entry(pum_st *st, const char *name, const json_t *entry, uint64_t base,
                                pumice_error *err)
{
    pum_st_tensor *t = &st->tensors[st->count];
    if (!is_name(name)) {
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' is damaged: a tensor has a bad name",
                        st->path);
    }
    *t = (pum_st_tensor){ .name = { name, strlen(name) } };
    if (!json_is_object(entry)) return damaged(st, err, name, "is no JSON object");
    PUM_TRY(read_shape(st, entry, t, err));
    PUM_TRY(read_range(st, entry, base, t, err));
    PUM_TRY(read_dtype(st, entry, t, err));
    st->count++;
    if (pum_name_index_add(&st->index, st, st->count - 1) != PUM_NAME_ADDED) {
        return damaged(st, err, name, "is there twice");
    }
    return PUMICE_OK;
}

/* ---- the whole ---- */

static int by_address(const void *a, const void *b)
{
    const pum_st_tensor *x = *(const pum_st_tensor *const *)a,
                        *y = *(const pum_st_tensor *const *)b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static pumice_status check_overlap(const pum_st *st, pumice_error *err)
{
    const pum_st_tensor **sorted = pum_alloc_array(st->count, sizeof *sorted);
    if (!sorted) return no_memory(st, err);
    for (size_t i = 0; i < st->count; i++) sorted[i] = &st->tensors[i];
    if (st->count) qsort(sorted, st->count, sizeof *sorted, by_address);
    pumice_status status = PUMICE_OK;
    for (size_t i = 1; i < st->count && status == PUMICE_OK; i++) {
        const pum_st_tensor *a = sorted[i - 1], *b = sorted[i];
        if ((uint64_t)(b->data - a->data) >= a->bytes) continue;
        status = pum_fail(err, PUMICE_ERROR_FORMAT,
                          "'%s' is damaged: tensors '%.80s' and '%.80s' overlap", st->path,
                          a->name.data, b->name.data);
    }
    pum_free(sorted);
    return status;
}

static pumice_status read_header(pum_st *st, pumice_error *err)
{
    uint64_t bytes = 0;
    if (st->size >= 8) {
        for (int i = 0; i < 8; i++) bytes |= (uint64_t)st->data[i] << (8 * i);
    }
    if (st->size < 8 || bytes > st->size - 8) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "'%s' is no safetensors file, or cut off: its header is longer than it",
                        st->path);
    }
    if (bytes > MAX_HEADER_BYTES) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "'%s' has a header of %llu bytes, more than the %d that are allowed",
                        st->path, (unsigned long long)bytes, MAX_HEADER_BYTES);
    }
    PUM_TRY(pum_json_object_parse(st->data + 8, (size_t)bytes, st->path, &st->header, err));
    size_t n = json_object_size(st->header);
    st->tensors = pum_alloc_array(n, sizeof *st->tensors);
    if (!st->tensors || !pum_name_index_init(&st->index, tensor_name, n)) return no_memory(st, err);
    const char *name;
    json_t *entry;
    json_object_foreach (st->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        PUM_TRY(read_entry(st, name, entry, 8 + bytes, err));
    }
    return check_overlap(st, err);
}

static pumice_status open_bytes(pum_st *st, const char *name, pumice_error *err)
{
    st->path = pum_strdup(name);
    if (!st->path) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", name);
    return read_header(st, err);
}

pumice_status pum_st_open_memory(const void *data, size_t bytes, const char *name, pum_st **out_st,
                                 pumice_error *err)
{
    pumice_status status;
    *out_st = NULL;
    pum_st *st = pum_alloc(sizeof *st);
    if (!st) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", name);
    st->data = data;
    st->size = bytes;
    PUM_GOTO(open_bytes(st, name, err));
    *out_st = st;
    return PUMICE_OK;
fail:
    pum_st_close(&st);
    return status;
}

pumice_status pum_st_open(const char *path, pum_st **out_st, pumice_error *err)
{
    pumice_status status;
    *out_st = NULL;
    pum_st *st = pum_alloc(sizeof *st);
    if (!st) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", path);
    PUM_GOTO(pum_file_map(path, &st->file, err));
    st->data = st->file.data;
    st->size = st->file.size_bytes;
    PUM_GOTO(open_bytes(st, path, err));
    *out_st = st;
    return PUMICE_OK;
fail:
    pum_st_close(&st);
    return status;
}

void pum_st_close(pum_st **st)
{
    if (!st || !*st) return;
    pum_st *s = *st;
    pum_name_index_free(&s->index);
    pum_free(s->tensors);
    pum_free(s->path);
    json_decref(s->header);
    pum_file_unmap(&s->file);
    pum_free(s);
    *st = NULL;
}

const char *pum_st_path(const pum_st *st) { return st->path; }
uint64_t pum_st_size_bytes(const pum_st *st) { return st->size; }
size_t pum_st_count(const pum_st *st) { return st->count; }

const pum_st_tensor *pum_st_at(const pum_st *st, size_t index)
{
    return index < st->count ? &st->tensors[index] : NULL;
}

const pum_st_tensor *pum_st_find(const pum_st *st, const char *name)
{
    size_t i;
    return pum_name_index_find(&st->index, st, (pum_str){ name, strlen(name) }, &i)
               ? &st->tensors[i]
               : NULL;
}
