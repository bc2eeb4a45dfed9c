/* SPDX-License-Identifier: Apache-2.0
 * The header of a GGUF v3 file. Decides nothing but the layout. Values are copied from a file that
 * was checked when it was opened. */
#include "gguf_write.h"

#include <string.h>

static void add_le(pum_text *out, uint64_t value, size_t bytes)
{
    char le[8];
    for (size_t i = 0; i < bytes; i++) le[i] = (char)(value >> (8 * i));
    pum_text_add(out, le, bytes);
}

static void add_str(pum_text *out, const char *data, size_t count)
{
    add_le(out, count, 8);
    pum_text_add(out, data, count);
}

void pum_gguf_put_u32(pum_gguf_writer *w, const char *key, uint32_t value)
{
    add_str(&w->keys, key, strlen(key));
    add_le(&w->keys, PUM_GGUF_U32, 4);
    add_le(&w->keys, value, 4);
    w->n_keys++;
}

/* Bytes of a value's payload; 0 for item types without a fixed size. */
static size_t fixed_bytes(pum_gguf_type type)
{
    switch (type) {
    case PUM_GGUF_U8:
    case PUM_GGUF_I8:
    case PUM_GGUF_BOOL: return 1;
    case PUM_GGUF_U16:
    case PUM_GGUF_I16: return 2;
    case PUM_GGUF_U32:
    case PUM_GGUF_I32:
    case PUM_GGUF_F32: return 4;
    case PUM_GGUF_U64:
    case PUM_GGUF_I64:
    case PUM_GGUF_F64: return 8;
    default: return 0;
    }
}

static void add_strings(pum_text *out, const pum_gguf_value *array)
{
    const uint8_t *cursor = NULL;
    uint64_t index = 0;
    pum_str s;
    while (pum_gguf_next_str(array, &cursor, &index, &s)) add_str(out, s.data, s.count);
}

void pum_gguf_put_copy(pum_gguf_writer *w, const pum_gguf *from, size_t index)
{
    const pum_gguf_value *v = pum_gguf_kv_at(from, index);
    pum_str key = pum_gguf_kv_key(from, index);
    pum_gguf_type item = v->type == PUM_GGUF_ARRAY ? v->item_type : v->type;
    add_str(&w->keys, key.data, key.count);
    add_le(&w->keys, v->type, 4);
    w->n_keys++;
    if (v->type == PUM_GGUF_ARRAY) {
        add_le(&w->keys, item, 4);
        add_le(&w->keys, v->count, 8);
    }
    if (fixed_bytes(item)) {
        pum_text_add(&w->keys, (const char *)v->data, (size_t)v->count * fixed_bytes(item));
    } else if (v->type == PUM_GGUF_ARRAY) {
        add_strings(&w->keys, v); /* arrays of arrays are refused when a file is opened */
    } else {
        uint64_t count = 0;
        for (int i = 8; i-- > 0;) count = count << 8 | v->data[i];
        add_str(&w->keys, (const char *)v->data + 8, (size_t)count);
    }
}

void pum_gguf_put_tensor(pum_gguf_writer *w, pum_str name, uint32_t n_dims, const uint64_t *ne,
                         pum_dtype type, uint64_t *out_offset)
{
    uint64_t bytes = 0, rows = 1;
    *out_offset = w->data_bytes;
    add_str(&w->tensors, name.data, name.count);
    add_le(&w->tensors, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) {
        add_le(&w->tensors, ne[i], 8);
        if (i) rows *= ne[i];
    }
    add_le(&w->tensors, (uint64_t)pum_dtype_get(type)->gguf_type, 4);
    add_le(&w->tensors, w->data_bytes, 8);
    w->n_tensors++;
    if (!pum_dtype_row_bytes(type, ne[0], &bytes) || !pum_mul_u64(bytes, rows, &bytes) ||
        !pum_add_u64(w->data_bytes, pum_align_up(bytes, PUM_GGUF_ALIGN), &w->data_bytes)) {
        w->failed = true;
    }
}

void pum_gguf_header(const pum_gguf_writer *w, pum_text *out)
{
    static const char zeros[PUM_GGUF_ALIGN];
    pum_text_add(out, "GGUF", 4);
    add_le(out, 3, 4);
    add_le(out, w->n_tensors, 8);
    add_le(out, w->n_keys, 8);
    pum_text_add(out, w->keys.data, w->keys.count);
    pum_text_add(out, w->tensors.data, w->tensors.count);
    pum_text_add(out, zeros, (size_t)(pum_align_up(out->count, PUM_GGUF_ALIGN) - out->count));
    if (w->failed || w->keys.failed || w->tensors.failed) out->failed = true;
}

void pum_gguf_writer_free(pum_gguf_writer *w)
{
    pum_text_free(&w->keys);
    pum_text_free(&w->tensors);
    *w = (pum_gguf_writer){ 0 };
}
