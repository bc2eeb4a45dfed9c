/* SPDX-License-Identifier: Apache-2.0
 * Look-ups in the table of storage types, and the two forms of a row: a file's blocks and the
 * device's planes. Decides nothing: the facts are dtype.def's. */
#include "dtype.h"

#include <math.h>
#include <string.h>
#include <strings.h>

static const pum_dtype_info infos[PUM_DTYPE_COUNT] = {
#define PUM_DTYPE(id, name, gguf, elems, bytes, weight, kv, a0, n0, a1, n1, a2, n2, book)          \
    [PUM_DTYPE_##id] = { name, gguf, elems, bytes, weight, kv,                                     \
                         { { a0, n0 }, { a1, n1 }, { a2, n2 } }, book },
#include "dtype.def"
#undef PUM_DTYPE
};

const pum_dtype_info *pum_dtype_get(pum_dtype type)
{
    return (unsigned)type < PUM_DTYPE_COUNT ? &infos[type] : NULL;
}

bool pum_dtype_from_gguf(uint32_t gguf_type, pum_dtype *out_type)
{
    for (int i = 0; i < PUM_DTYPE_COUNT; i++) {
        if (infos[i].gguf_type >= 0 && (uint32_t)infos[i].gguf_type == gguf_type) {
            *out_type = (pum_dtype)i;
            return true;
        }
    }
    return false;
}

bool pum_dtype_from_name(const char *name, pum_dtype *out_type)
{
    for (int i = 0; i < PUM_DTYPE_COUNT; i++) {
        if (strcasecmp(infos[i].name, name) == 0) {
            *out_type = (pum_dtype)i;
            return true;
        }
    }
    return false;
}

bool pum_dtype_row_bytes(pum_dtype type, uint64_t cols, uint64_t *out_bytes)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    if (!info || cols % info->block_elems != 0) return false;
    return pum_mul_u64(cols / info->block_elems, info->block_bytes, out_bytes);
}

/* ---- planes ---- */

bool pum_dtype_device_row_bytes(pum_dtype type, uint64_t cols, uint64_t *out_bytes)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    uint64_t bytes = 0, blocks;
    if (!pum_dtype_row_bytes(type, cols, &bytes)) return false;
    if (info->planes[0].bytes && bytes > UINT64_MAX - 16 * PUM_MAX_PLANES) return false;
    if (info->planes[0].bytes) {
        blocks = cols / info->block_elems, bytes = 0;
        for (int p = 0; p < PUM_MAX_PLANES; p++) {
            bytes += pum_align_up(blocks * info->planes[p].bytes, 16);
        }
    }
    *out_bytes = bytes;
    return true;
}

/* Copies `count` fields of `bytes`, to_step and from_step bytes apart. The common sizes are
 * constants, so that the compiler moves them in registers. */
static void copy_fields(uint8_t *to, size_t to_step, const uint8_t *from, size_t from_step,
                        size_t bytes, uint64_t count)
{
#define COPY(n)                                                                                    \
    for (uint64_t i = 0; i < count; i++) memcpy(to + i * to_step, from + i * from_step, n)
    if (bytes == 2) COPY(2);
    else if (bytes == 4) COPY(4);
    else if (bytes == 16) COPY(16);
    else if (bytes == 32) COPY(32);
    else COPY(bytes);
#undef COPY
}

void pum_dtype_pack_rows(pum_dtype type, uint64_t rows, uint64_t cols, const void *file,
                         void *out_device)
{
    const pum_dtype_info *info = &infos[type];
    uint64_t blocks = cols / info->block_elems, row_bytes = blocks * info->block_bytes;
    const uint8_t *from = file;
    uint8_t *to = out_device;
    if (!info->planes[0].bytes) {
        memcpy(to, from, (size_t)(rows * row_bytes));
        return;
    }
    for (uint64_t r = 0; r < rows; r++, from += row_bytes) {
        for (int p = 0; p < PUM_MAX_PLANES; p++) {
            pum_plane plane = info->planes[p];
            uint64_t used = blocks * plane.bytes, all = pum_align_up(used, 16);
            copy_fields(to, plane.bytes, from + plane.at, info->block_bytes, plane.bytes, blocks);
            memset(to + used, 0, (size_t)(all - used));
            to += all;
        }
    }
}

void pum_dtype_unpack_rows(pum_dtype type, uint64_t rows, uint64_t cols, const void *device,
                           void *out_file)
{
    const pum_dtype_info *info = &infos[type];
    uint64_t blocks = cols / info->block_elems, row_bytes = blocks * info->block_bytes;
    const uint8_t *from = device;
    uint8_t *to = out_file;
    if (!info->planes[0].bytes) {
        memcpy(to, from, (size_t)(rows * row_bytes));
        return;
    }
    for (uint64_t r = 0; r < rows; r++, to += row_bytes) {
        for (int p = 0; p < PUM_MAX_PLANES; p++) {
            pum_plane plane = info->planes[p];
            copy_fields(to + plane.at, info->block_bytes, from, plane.bytes, plane.bytes, blocks);
            from += pum_align_up(blocks * plane.bytes, 16);
        }
    }
}

/* ---- floats of 32 and 16 bits ---- */

static float f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float f32_of_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31) return f32_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * ldexpf((float)mantissa, -24);
    return f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static uint16_t bf16_of_bits(uint32_t bits)
{
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t f16_of_bits(uint32_t bits)
{
    uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* from 65,520 on: infinity */
    if (rest < 0x38800000) { /* below 2^-14: a multiple of 2^-24 */
        float steps = nearbyintf(ldexpf(f32_of_bits(rest), 24));
        return (uint16_t)(sign | (uint32_t)steps);
    }
    return (uint16_t)(sign | (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13);
}

void pum_dtype_to_f32(pum_dtype type, const void *src, uint64_t count, float *out)
{
    const uint8_t *p = src;
    if (type == PUM_DTYPE_F32) {
        memcpy(out, p, (size_t)count * 4);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, p + 2 * i, 2);
        out[i] = type == PUM_DTYPE_F16 ? f32_of_f16(half) : f32_of_bits((uint32_t)half << 16);
    }
}

void pum_dtype_from_f32(pum_dtype type, const float *src, uint64_t count, void *out)
{
    uint8_t *p = out;
    if (type == PUM_DTYPE_F32) {
        memcpy(p, src, (size_t)count * 4);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &src[i], 4);
        uint16_t half = type == PUM_DTYPE_F16 ? f16_of_bits(bits) : bf16_of_bits(bits);
        memcpy(p + 2 * i, &half, 2);
    }
}
