/* SPDX-License-Identifier: Apache-2.0
 * Look-ups in the table of storage types. Decides nothing: the facts are dtype.def's. */
#include "dtype.h"

#include <strings.h>

static const pum_dtype_info infos[PUM_DTYPE_COUNT] = {
#define PUM_DTYPE(id, name, gguf, elems, bytes, weight, kv)                                        \
    [PUM_DTYPE_##id] = { name, gguf, elems, bytes, weight, kv },
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
