/* SPDX-License-Identifier: Apache-2.0
 * Look-ups in the table of storage types, and the two forms of a row: a file's blocks and the
 * device's planes. Decides nothing: the facts are dtype.def's. */
#include "dtype.h"

#include <string.h>
#include <strings.h>

static const pum_dtype_info infos[PUM_DTYPE_COUNT] = {
#define PUM_DTYPE(id, name, gguf, elems, bytes, weight, kv, a0, n0, a1, n1, a2, n2)                \
    [PUM_DTYPE_##id] = { name, gguf, elems, bytes, weight, kv,                                     \
                         { { a0, n0 }, { a1, n1 }, { a2, n2 } } },
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
