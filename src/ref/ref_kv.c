/* SPDX-License-Identifier: Apache-2.0
 * The paged KV cache on the host: where a vector lies in a page and how each type stores it (layout: args.h). */
#include "ref_inner.h"

static uint64_t round_up8(uint32_t n) { return ((uint64_t)n + 7) / 8 * 8; }

/* Bytes of the 32 cells of one (page, kv head). */
uint64_t pum_ref_kv_page_bytes(uint32_t type, uint32_t head_dim)
{
    switch (type) {
    case KV_F32: return KV_PAGE * round_up8(head_dim) * 4;
    case KV_F16: return KV_PAGE * round_up8(head_dim) * 2;
    case KV_Q8_0: return head_dim % 32 ? 0 : KV_PAGE * ((uint64_t)head_dim + head_dim / 16);
    case KV_Q4_0: return head_dim % 32 ? 0 : KV_PAGE * ((uint64_t)head_dim / 2 + head_dim / 16);
    default: return 0;
    }
}

/* The scale of a block of 32 dims of a cell; p: the page's bytes. */
static uint16_t *scale_of(uint8_t *p, uint32_t type, uint32_t head_dim, uint32_t cell, uint32_t block)
{
    uint64_t quants = (uint64_t)KV_PAGE * head_dim / (type == KV_Q8_0 ? 1 : 2);
    return (uint16_t *)(void *)(p + quants) + block * KV_PAGE + cell;
}

double pum_ref_kv_get(const void *cache, uint32_t type, uint64_t page, uint32_t cell, uint32_t head_dim, uint32_t dim)
{
    uint8_t *p = (uint8_t *)cache + page * pum_ref_kv_page_bytes(type, head_dim);
    uint64_t at = cell * round_up8(head_dim) + dim;
    if (type == KV_F32) return ((const float *)(void *)p)[at];
    if (type == KV_F16) return pum_ref_f16_to_f32(((const uint16_t *)(void *)p)[at]);
    double scale = pum_ref_f16_to_f32(*scale_of(p, type, head_dim, cell, dim / 32));
    if (type == KV_Q8_0) return scale * (p[at] - 128);
    return scale * ((p[at / 2] >> (dim % 2 * 4) & 15) - 8);
}

/* 32 values: the largest decides the scale; nearest quants. */
static void put_block(uint8_t *p, uint32_t type, uint32_t head_dim, uint32_t cell, uint32_t block, const float *v)
{
    uint64_t at = cell * (uint64_t)head_dim + block * 32;
    float most = 0.0f;
    for (uint32_t i = 0; i < 32; i++) {
        if (fabsf(v[i]) > fabsf(most)) most = v[i];
    }
    float scale = type == KV_Q8_0 ? fabsf(most) * (1.0f / 127.0f) : most * -0.125f;
    float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    *scale_of(p, type, head_dim, cell, block) = pum_ref_f32_to_f16(scale);
    for (uint32_t i = 0; i < 32; i++) {
        if (type == KV_Q8_0) {
            p[at + i] = (uint8_t)fminf(fmaxf(rintf(v[i] * inverse) + 128.0f, 1.0f), 255.0f);
        } else {
            uint8_t four = (uint8_t)fminf(fmaxf(floorf(v[i] * inverse + 8.5f), 0.0f), 15.0f);
            uint8_t *byte = &p[(at + i) / 2];
            *byte = (uint8_t)(i % 2 ? (*byte & 15) | four << 4 : (*byte & 0xf0) | four);
        }
    }
}

void pum_ref_kv_put(void *cache, uint32_t type, uint64_t page, uint32_t cell, uint32_t head_dim, const float *v)
{
    uint8_t *p = (uint8_t *)cache + page * pum_ref_kv_page_bytes(type, head_dim);
    uint64_t at = cell * round_up8(head_dim);
    if (type == KV_Q8_0 || type == KV_Q4_0) {
        for (uint32_t b = 0; b < head_dim / 32; b++) put_block(p, type, head_dim, cell, b, v + 32 * b);
        return;
    }
    for (uint64_t d = 0; d < round_up8(head_dim); d++) {
        float x = d < head_dim ? v[d] : 0.0f;
        if (type == KV_F16) ((uint16_t *)(void *)p)[at + d] = pum_ref_f32_to_f16(x);
        else ((float *)(void *)p)[at + d] = x;
    }
}

bool ref_kv_find(const pum_ref_binding *words, const pum_ref_binding *cache, uint32_t type, const ref_kv_shape *shape,
                 uint32_t seq, uint32_t cell, uint32_t head, uint64_t *out_page)
{
    uint64_t word = shape->table_at + (uint64_t)seq * shape->table_stride + cell / KV_PAGE;
    uint64_t bytes = pum_ref_kv_page_bytes(type, shape->head_dim);
    if (bytes == 0 || cell / KV_PAGE >= shape->table_stride || word >= words->bytes / 4) return false;
    *out_page = (uint64_t)((const uint32_t *)words->data)[word] * shape->kv_heads + head;
    return (*out_page + 1) * bytes <= cache->bytes;
}

bool pum_ref_kv_near(uint32_t type, uint32_t head_dim, uint64_t at, uint32_t want, uint32_t got)
{
    uint64_t page_words = pum_ref_kv_page_bytes(type, head_dim) / 4;
    if (page_words == 0) return want == got;
    uint64_t quants = (uint64_t)KV_PAGE * head_dim / (type == KV_Q8_0 ? 4 : 8);
    uint32_t bits = at % page_words >= quants ? 16 : type == KV_Q8_0 ? 8 : 4, mask = (1u << bits) - 1;
    for (uint32_t i = 0; i < 32; i += bits) {
        int32_t w = (int32_t)(want >> i & mask), g = (int32_t)(got >> i & mask);
        if (w - g > 1 || g - w > 1) return false;
    }
    return true;
}
