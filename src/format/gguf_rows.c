/* SPDX-License-Identifier: Apache-2.0
 * Reading rows: as they lie in the file, or gathered from other tensors by the arithmetic of
 * pum_gguf_part. Knows no model: which rows go where is decided by who adds the tensor. */
#include "gguf_rows.h"

#include <string.h>

static uint64_t extent(const pum_gguf_part *p, uint32_t digit)
{
    uint64_t faster = p->size[0] * p->size[1] * p->size[2];
    return digit == 0 ? pum_ceil_div(p->rows, faster) : p->size[digit - 1];
}

static uint64_t row_start(const pum_gguf_part *p, uint64_t row)
{
    uint64_t at = p->first;
    for (uint32_t k = 3; k > 0; k--) {
        at += row % p->size[k - 1] * p->stride[k];
        row /= p->size[k - 1];
    }
    return at + row * p->stride[0];
}

/* ---- checks ---- */

static bool is_good(const pum_gguf_part *p, const pum_gguf_tensor *t)
{
    bool floats = p->type == PUM_DTYPE_F32 || p->type == PUM_DTYPE_F16 || p->type == PUM_DTYPE_BF16;
    uint64_t last = p->first, n;
    if (!floats || !p->data || p->rows == 0 || !p->size[0] || !p->size[1] || !p->size[2]) {
        return false;
    }
    if (t->type != PUM_DTYPE_F32 && (t->type != p->type || p->add != 0.0f)) return false;
    for (uint32_t k = 0; k < 4; k++) {
        if (!pum_mul_u64(extent(p, k) - 1, p->stride[k], &n) || !pum_add_u64(last, n, &last)) {
            return false;
        }
    }
    return pum_mul_u64(t->ne[0] - 1, p->col_stride, &n) && pum_add_u64(last, n, &last) &&
           last < p->elems;
}

pumice_status pum_gguf_parts_check(const pum_gguf *gguf, const char *name,
                                   const pum_gguf_tensor *tensor, const pum_gguf_part *parts,
                                   uint64_t rows, pumice_error *err)
{
    uint64_t given = 0;
    bool good = true;
    for (uint32_t i = 0; i < tensor->n_parts; i++) {
        good = good && is_good(&parts[i], tensor) && pum_add_u64(given, parts[i].rows, &given);
    }
    if (good && (tensor->n_parts == 0 || given == rows)) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_INTERNAL, "'%s': the rows of tensor '%s' are mapped wrongly",
                    pum_gguf_path(gguf), name);
}

/* All rows of a part follow each other without a gap. */
static bool is_plain(const pum_gguf_part *p, const pum_gguf_tensor *t)
{
    uint64_t width = t->ne[0];
    if (p->type != t->type || p->add != 0.0f || p->col_stride != 1) return false;
    for (uint32_t k = 4; k-- > 0;) {
        if (extent(p, k) > 1 && p->stride[k] != width) return false;
        width *= k > 0 ? extent(p, k) : 1;
    }
    return true;
}

const uint8_t *pum_gguf_in_one_piece(const pum_gguf_tensor *tensor)
{
    const uint8_t *first = NULL, *next = NULL;
    uint64_t row_bytes;
    if (!pum_dtype_row_bytes(tensor->type, tensor->ne[0], &row_bytes)) return NULL;
    for (uint32_t i = 0; i < tensor->n_parts; i++) {
        const pum_gguf_part *p = &tensor->parts[i];
        const uint8_t *at = p->data + p->first * (row_bytes / tensor->ne[0]);
        if (!is_plain(p, tensor) || (first && at != next)) return NULL;
        if (!first) first = at;
        next = at + p->rows * row_bytes;
    }
    return first;
}

/* ---- reading ---- */

static void gather(const pum_gguf_part *p, uint64_t at, uint64_t cols, uint32_t elem, uint8_t *out)
{
    const uint8_t *src = p->data + at * elem;
    if (p->col_stride == 1) {
        memcpy(out, src, (size_t)(cols * elem));
        return;
    }
    for (uint64_t c = 0; c < cols; c++) {
        memcpy(out + c * elem, src + c * p->col_stride * elem, elem);
    }
}

static void gather_f32(const pum_gguf_part *p, uint64_t at, uint64_t cols, uint8_t *out)
{
    uint32_t elem = pum_dtype_get(p->type)->block_bytes;
    for (uint64_t c = 0; c < cols; c++) {
        float x;
        pum_dtype_to_f32(p->type, p->data + (at + c * p->col_stride) * elem, 1, &x);
        x += p->add;
        memcpy(out + 4 * c, &x, 4);
    }
}

static void read_parts(const pum_gguf_tensor *t, uint64_t row, uint64_t rows, uint64_t row_bytes,
                       uint8_t *out)
{
    for (const pum_gguf_part *p = t->parts; rows > 0; row -= p->rows, p++) {
        for (; row < p->rows && rows > 0; row++, rows--, out += row_bytes) {
            uint64_t at = row_start(p, row);
            if (p->type == t->type && p->add == 0.0f) {
                gather(p, at, t->ne[0], pum_dtype_get(t->type)->block_bytes, out);
            } else {
                gather_f32(p, at, t->ne[0], out);
            }
        }
    }
}

pumice_status pum_gguf_read_rows(const pum_gguf_tensor *tensor, uint64_t row_first, uint64_t rows,
                                 void *out, pumice_error *err)
{
    uint64_t row_bytes = 0, all = 0;
    if (pum_dtype_row_bytes(tensor->type, tensor->ne[0], &row_bytes) && row_bytes) {
        all = tensor->bytes / row_bytes;
    }
    if (row_first > all || rows > all - row_first) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "tensor '%.*s' has no rows %llu to %llu",
                        (int)PUM_MIN(tensor->name.count, (size_t)80), tensor->name.data,
                        (unsigned long long)row_first, (unsigned long long)(row_first + rows));
    }
    if (tensor->data) {
        memcpy(out, tensor->data + row_first * row_bytes, (size_t)(rows * row_bytes));
        return PUMICE_OK;
    }
    if (!tensor->n_parts) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "the model comes without weights: it can be measured and planned, but "
                        "not run");
    }
    read_parts(tensor, row_first, rows, row_bytes, out);
    return PUMICE_OK;
}
