/* SPDX-License-Identifier: Apache-2.0
 * Writes small GGUF images in memory for tests, good ones and bad ones: metadata first, then
 * tensors, then finish, which fills the counts in. Zero-initialise; free with gguf_image_free. */
#ifndef GGUF_IMAGE_H
#define GGUF_IMAGE_H

#include "gguf.h"

#include <string.h>

enum { GGUF_IMAGE_HEADER = 24 };

typedef struct gguf_image {
    char *data;
    size_t count, capacity;
    uint64_t n_kvs, n_tensors;
} gguf_image;

static inline void gguf_image_bytes(gguf_image *m, const void *p, size_t n)
{
    static const char header[GGUF_IMAGE_HEADER] = "GGUF\3\0\0\0";
    if (m->count == 0 && pum_array_grow((void **)&m->data, &m->capacity, sizeof header, 1)) {
        memcpy(m->data, header, sizeof header);
        m->count = sizeof header;
    }
    if (!pum_array_grow((void **)&m->data, &m->capacity, m->count + n, 1)) return;
    if (n) memcpy(m->data + m->count, p, n);
    m->count += n;
}

static inline void gguf_image_le(gguf_image *m, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++, v >>= 8) {
        uint8_t b = (uint8_t)v;
        gguf_image_bytes(m, &b, 1);
    }
}
static inline void gguf_image_u32(gguf_image *m, uint32_t v) { gguf_image_le(m, v, 4); }
static inline void gguf_image_u64(gguf_image *m, uint64_t v) { gguf_image_le(m, v, 8); }
static inline void gguf_image_f32(gguf_image *m, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    gguf_image_u32(m, bits);
}
static inline void gguf_image_text(gguf_image *m, const char *s)
{
    gguf_image_u64(m, strlen(s));
    gguf_image_bytes(m, s, strlen(s));
}

/* Key and type of a metadata entry; the value follows. */
static inline void gguf_image_key(gguf_image *m, const char *key, uint32_t type)
{
    gguf_image_text(m, key);
    gguf_image_u32(m, type);
    m->n_kvs++;
}
static inline void gguf_image_string(gguf_image *m, const char *key, const char *value)
{
    gguf_image_key(m, key, PUM_GGUF_STRING);
    gguf_image_text(m, value);
}
static inline void gguf_image_key_u32(gguf_image *m, const char *key, uint32_t value)
{
    gguf_image_key(m, key, PUM_GGUF_U32);
    gguf_image_u32(m, value);
}
static inline void gguf_image_bool(gguf_image *m, const char *key, uint8_t value)
{
    gguf_image_key(m, key, PUM_GGUF_BOOL);
    gguf_image_bytes(m, &value, 1);
}
/* An array's head; its items follow. */
static inline void gguf_image_array(gguf_image *m, const char *key, uint32_t item_type,
                                    uint64_t count)
{
    gguf_image_key(m, key, PUM_GGUF_ARRAY);
    gguf_image_u32(m, item_type);
    gguf_image_u64(m, count);
}

static inline void gguf_image_tensor(gguf_image *m, const char *name, uint32_t n_dims,
                                     const uint64_t *ne, uint32_t type, uint64_t offset)
{
    gguf_image_text(m, name);
    gguf_image_u32(m, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) gguf_image_u64(m, ne[d]);
    gguf_image_u32(m, type);
    gguf_image_u64(m, offset);
    m->n_tensors++;
}

/* Tensor data: zeros up to the next multiple of `alignment`, then `bytes` more. */
static inline void gguf_image_data(gguf_image *m, size_t alignment, size_t bytes)
{
    static const char zero = 0;
    gguf_image_bytes(m, &zero, 0); /* the header, if nothing is there yet */
    while (m->count % alignment) gguf_image_bytes(m, &zero, 1);
    for (size_t i = 0; i < bytes; i++) gguf_image_bytes(m, &zero, 1);
}

static inline void gguf_image_finish(gguf_image *m)
{
    gguf_image_bytes(m, "", 0);
    for (int i = 0; i < 8; i++) {
        m->data[8 + i] = (char)(m->n_tensors >> 8 * i);
        m->data[16 + i] = (char)(m->n_kvs >> 8 * i);
    }
}

static inline void gguf_image_free(gguf_image *m)
{
    pum_free(m->data);
    *m = (gguf_image){ 0 };
}

#endif
