/* SPDX-License-Identifier: Apache-2.0
 * Lays weights and KV caches out in buffers: each piece within one binding's range and one
 * allocation, aligned for binding. The only place that knows maxStorageBufferRange and
 * maxMemoryAllocationSize of large tensors. First fit in order, since the order of the file is the
 * order of use. */
#include "plan.h"

#include "op.h"

/* Buffers are kept well below the allocation limit where possible: large allocations fail sooner.
 */
static const uint64_t BUFFER_TARGET_BYTES = 512ull << 20;

static pumice_status add_piece(pum_placement *p, uint32_t tensor, uint64_t first, uint64_t count,
                               uint64_t bytes, uint64_t align, uint64_t buffer_limit,
                               pumice_error *err)
{
    size_t last = p->buffer_bytes.count;
    if (last == 0 || p->buffer_bytes.data[last - 1] + bytes > buffer_limit) {
        if (!pum_array_push(&p->buffer_bytes, 0)) goto no_memory;
        last++;
    }
    uint64_t *end = &p->buffer_bytes.data[last - 1];
    pum_piece piece = { .tensor = tensor,
                        .row_first = first,
                        .row_count = count,
                        .buffer = (uint32_t)(last - 1),
                        .offset_bytes = *end,
                        .size_bytes = pum_align_up(bytes, 16) /* kernels load words */ };
    if (!pum_array_push(&p->pieces, piece)) goto no_memory;
    *end = pum_align_up(*end + bytes, align);
    return PUMICE_OK;
no_memory:
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to lay out the weights");
}

pumice_status pum_placement_make(const pum_tensor_size *tensors, size_t count, const pum_caps *caps,
                                 pum_placement *out_placement, pumice_error *err)
{
    pum_placement p = { 0 };
    pumice_status status;
    uint64_t align = PUM_MAX(caps->offset_align_bytes, 64u);
    uint64_t range =
        PUM_MIN(caps->max_buffer_range_bytes, caps->max_allocation_bytes) / align * align;
    /* a piece may be as long as the range, so a buffer must hold at least that */
    uint64_t limit =
        PUM_MIN(caps->max_allocation_bytes / align * align, PUM_MAX(BUFFER_TARGET_BYTES, range));
    for (size_t i = 0; i < count; i++) {
        const pum_tensor_size *t = &tensors[i];
        uint64_t bytes;
        if (!pum_mul_u64(t->rows, t->row_bytes, &bytes) || t->row_bytes == 0 || t->rows == 0) {
            status =
                pum_fail(err, PUMICE_ERROR_FORMAT, "tensor '%s' has an impossible size", t->name);
            goto fail;
        }
        if (t->row_bytes > range || (!t->splittable && bytes > range)) {
            status = pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                              "'%s' needs %llu MiB in one piece, but '%s' binds at most "
                              "%llu MiB at once%s",
                              t->name, (unsigned long long)(bytes >> 20), caps->name,
                              (unsigned long long)(range >> 20),
                              t->splittable ? "" : ": use a smaller context");
            goto fail;
        }
        if (!pum_array_push(&p.first, (uint32_t)p.pieces.count)) goto no_memory;
        uint64_t rows_per_piece = range / t->row_bytes;
        for (uint64_t row = 0; row < t->rows; row += rows_per_piece) {
            uint64_t n = PUM_MIN(rows_per_piece, t->rows - row);
            PUM_GOTO(add_piece(&p, (uint32_t)i, row, n, n * t->row_bytes, align, limit, err));
        }
        p.total_bytes += bytes;
    }
    if (!pum_array_push(&p.first, (uint32_t)p.pieces.count)) goto no_memory;
    *out_placement = p;
    return PUMICE_OK;
no_memory:
    status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to lay out the weights");
fail:
    pum_placement_free(&p);
    *out_placement = (pum_placement){ 0 };
    return status;
}

void pum_placement_free(pum_placement *placement)
{
    pum_array_free(&placement->pieces);
    pum_array_free(&placement->first);
    pum_array_free(&placement->buffer_bytes);
    *placement = (pum_placement){ 0 };
}

uint32_t pum_select_pieces(const pum_select *s, pum_value_id weight)
{
    const pum_value *v = pum_select_value(s, weight);
    if (v->stack > 1) return 1;
    return s->weights->first.data[v->source + 1] - s->weights->first.data[v->source];
}

pum_select_rows pum_select_piece(const pum_select *s, pum_value_id weight, uint32_t index)
{
    const pum_value *v = pum_select_value(s, weight);
    uint32_t at = s->weights->first.data[v->source] + index;
    const pum_piece *piece = &s->weights->pieces.data[at];
    return (pum_select_rows){ .piece = at,
                              .first = piece->row_first,
                              .count = v->stack > 1 ? v->rows : piece->row_count };
}

const pum_piece *pum_placement_only_piece(const pum_placement *placement, int32_t tensor)
{
    uint32_t first = placement->first.data[tensor], end = placement->first.data[tensor + 1];
    return end - first == 1 ? &placement->pieces.data[first] : NULL;
}
