/* SPDX-License-Identifier: Apache-2.0
 * Lays weights and KV caches out in buffers: each piece within one binding's range and one
 * allocation, aligned for binding. The only place that knows maxStorageBufferRange and
 * maxMemoryAllocationSize of large tensors, and which tensors may stay in the host's memory. First fit
 * in order, since the order of the file is the order of use. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "op.h"

/* Buffers are kept well below the allocation limit where possible: large allocations fail sooner.
 */
static const uint64_t BUFFER_TARGET_BYTES = 512ull << 20;

typedef struct limits {
    uint64_t align, range, buffer;
} limits;

/* Of memory of the device's own. */
static limits limits_of(const pum_caps *caps)
{
    limits l = { .align = PUM_MAX(caps->offset_align_bytes, 64u) };
    l.range = PUM_MIN(caps->max_buffer_range_bytes, caps->max_allocation_bytes) / l.align * l.align;
    /* a piece may be as long as the range, so a buffer must hold at least that */
    l.buffer = PUM_MIN(caps->max_allocation_bytes / l.align * l.align, PUM_MAX(BUFFER_TARGET_BYTES, l.range));
    return l;
}

/* Puts a piece behind the others, not into the first `full` buffers; false: no memory. */
static bool reserve(pum_placement *p, size_t full, uint64_t bytes, const limits *l, pum_piece *piece)
{
    size_t last = p->buffer_bytes.count;
    if (last == full || p->buffer_bytes.data[last - 1] + bytes > l->buffer) {
        if (!pum_array_push(&p->buffer_bytes, 0)) return false;
        last++;
    }
    uint64_t *end = &p->buffer_bytes.data[last - 1];
    piece->buffer = (uint32_t)(last - 1);
    piece->offset_bytes = *end;
    *end = pum_align_up(*end + bytes, l->align);
    return true;
}

static bool add_piece(pum_placement *p, uint32_t tensor, uint64_t first, uint64_t count, uint64_t bytes,
                      const limits *l)
{
    pum_piece piece = { .tensor = tensor, .row_first = first, .row_count = count,
                        .size_bytes = pum_align_up(bytes, 16) /* kernels load words */ };
    return reserve(p, p->n_host, bytes, l, &piece) && pum_array_push(&p->pieces, piece);
}

/* ---- tensors in the host's memory ---- */

static uint64_t page_of(uint64_t at) { return at / PUM_PAGE_BYTES * PUM_PAGE_BYTES; }

static uint64_t rows_per_piece(const pum_tensor_size *t, const limits *l) { return l->range / t->row_bytes; }

/* Can be bound where it is: all of it, or each piece. */
static bool fits_in_place(const pum_tensor_size *t, const limits *l)
{
    bool cut = t->rows > rows_per_piece(t, l);
    return t->host_at && t->host_same && t->host_at % l->align == 0 &&
           pum_align_up(t->host_bytes, PUM_PAGE_BYTES) + PUM_PAGE_BYTES <= l->buffer &&
           !(cut && rows_per_piece(t, l) * t->row_bytes % l->align);
}

/* Marks the tensors that stay where they are. Those that join do so together, one right behind the other, or not. */
static void choose_in_place(const pum_tensor_size *tensors, size_t count, const limits *l, bool *out_stays)
{
    for (size_t i = 0, end; i < count; i = end) {
        bool all = fits_in_place(&tensors[i], l);
        for (end = i + 1; end < count && tensors[end].joins; end++) {
            all = all && fits_in_place(&tensors[end], l) &&
                  tensors[end - 1].host_at + tensors[end - 1].host_bytes == tensors[end].host_at;
        }
        for (size_t k = i; k < end; k++) out_stays[k] = all;
    }
}

static int by_address(const void *a, const void *b)
{
    const pum_tensor_size *x = *(const pum_tensor_size *const *)a, *y = *(const pum_tensor_size *const *)b;
    return x->host_at < y->host_at ? -1 : x->host_at > y->host_at;
}

/* The pages of all tensors in the host's memory, joined where they touch, as buffers. Every byte of a page that holds a
 * byte of a tensor is there, since memory comes in pages. */
static bool add_pages(pum_placement *p, const pum_tensor_size *tensors, size_t count, const limits *l)
{
    const pum_tensor_size **order = pum_alloc_array(count + 1, sizeof *order);
    size_t n = 0;
    bool fine = order != NULL;
    for (size_t i = 0; i < count && fine; i++) {
        if (tensors[i].host_at) order[n++] = &tensors[i];
    }
    if (fine) qsort(order, n, sizeof *order, by_address);
    for (size_t i = 0; i < n && fine; i++) {
        uint64_t begin = page_of(order[i]->host_at),
                 end = pum_align_up(order[i]->host_at + order[i]->host_bytes, PUM_PAGE_BYTES);
        uint64_t *first = p->n_host ? &p->host.data[p->n_host - 1] : NULL;
        uint64_t *bytes = p->n_host ? &p->buffer_bytes.data[p->n_host - 1] : NULL;
        if (first && begin <= *first + *bytes && end - *first <= l->buffer) {
            *bytes = PUM_MAX(*bytes, end - *first);
        } else if (end - begin <= l->buffer) {
            fine = pum_array_push(&p->host, begin) && pum_array_push(&p->buffer_bytes, end - begin);
            p->n_host += fine;
        }
    }
    pum_free(order);
    return fine;
}

/* The host's buffer that a range lies in whole; n_host: none. */
static uint32_t find_pages(const pum_placement *p, uint64_t at, uint64_t bytes)
{
    uint32_t i = 0;
    while (i < p->n_host &&
           (at < p->host.data[i] || at + bytes > p->host.data[i] + p->buffer_bytes.data[i])) {
        i++;
    }
    return i;
}

/* Decides for every tensor whether it stays where it is; nothing to do where none is in the host's memory. */
static bool place_host(pum_placement *p, const pum_tensor_size *tensors, size_t count, const limits *l, bool *out_stays)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) n += tensors[i].host_at != 0;
    if (n == 0) return true;
    choose_in_place(tensors, count, l, out_stays);
    return add_pages(p, tensors, count, l);
}

bool pum_placement_find_host(const pum_placement *placement, uint64_t at, uint64_t bytes, uint32_t *out_buffer,
                             uint64_t *out_offset)
{
    *out_buffer = find_pages(placement, at, bytes);
    *out_offset = *out_buffer < placement->n_host ? at - placement->host.data[*out_buffer] : 0;
    return *out_buffer < placement->n_host;
}

/* ---- the whole ---- */

static pumice_status check_size(const pum_tensor_size *t, const pum_caps *caps, uint64_t range, uint64_t *out_bytes,
                                pumice_error *err)
{
    if (!pum_mul_u64(t->rows, t->row_bytes, out_bytes) || t->row_bytes == 0 || t->rows == 0) {
        return pum_fail(err, PUMICE_ERROR_FORMAT, "tensor '%s' has an impossible size", t->name);
    }
    if (t->row_bytes <= range && (t->splittable || *out_bytes <= range)) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "'%s' needs %llu MiB in one piece, but '%s' binds at most "
                    "%llu MiB at once%s",
                    t->name, (unsigned long long)(*out_bytes >> 20), caps->name, (unsigned long long)(range >> 20),
                    t->splittable ? "" : ": use a smaller context");
}

/* A tensor where the host has it. */
static bool add_in_place(pum_placement *p, const pum_tensor_size *t, uint32_t index, const limits *l)
{
    uint32_t buffer;
    uint64_t at, step = rows_per_piece(t, l);
    pum_placement_find_host(p, t->host_at, t->host_bytes, &buffer, &at);
    for (uint64_t row = 0; row < t->rows; row += step) {
        uint64_t n = PUM_MIN(step, t->rows - row);
        pum_piece piece = { .tensor = index, .row_first = row, .row_count = n, .buffer = buffer,
                            .offset_bytes = at + row * t->row_bytes,
                            .size_bytes = pum_align_up(n * t->row_bytes, 16) };
        if (!pum_array_push(&p->pieces, piece)) return false;
    }
    return true;
}

pumice_status pum_placement_make(const pum_tensor_size *tensors, size_t count, const pum_caps *caps,
                                 pum_placement *out_placement, pumice_error *err)
{
    pum_placement p = { 0 };
    pumice_status status;
    const limits own = limits_of(caps);
    const limits host = { PUM_MAX(caps->offset_align_bytes, 16u), own.range,
                          caps->max_allocation_bytes / PUM_PAGE_BYTES * PUM_PAGE_BYTES };
    bool *stays = pum_alloc_array(count + 1, sizeof *stays);
    uint64_t bytes = 0;
    if (!stays) goto no_memory;
    for (size_t i = 0; i < count; i++) PUM_GOTO(check_size(&tensors[i], caps, own.range, &bytes, err));
    if (!place_host(&p, tensors, count, &host, stays)) goto no_memory;
    for (size_t i = 0; i < count; i++) {
        const pum_tensor_size *t = &tensors[i];
        if (!pum_array_push(&p.first, (uint32_t)p.pieces.count)) goto no_memory;
        p.total_bytes += t->rows * t->row_bytes;
        if (stays[i]) {
            if (!add_in_place(&p, t, (uint32_t)i, &host)) goto no_memory;
            continue;
        }
        uint64_t step = rows_per_piece(t, &own);
        for (uint64_t row = 0; row < t->rows; row += step) {
            uint64_t n = PUM_MIN(step, t->rows - row);
            if (!add_piece(&p, (uint32_t)i, row, n, n * t->row_bytes, &own)) goto no_memory;
        }
    }
    if (!pum_array_push(&p.first, (uint32_t)p.pieces.count)) goto no_memory;
    pum_free(stays);
    *out_placement = p;
    return PUMICE_OK;
no_memory:
    status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to lay out the weights");
fail:
    pum_free(stays);
    pum_placement_free(&p);
    *out_placement = (pum_placement){ 0 };
    return status;
}

/* *out gets what was pushed to `from`; false: no memory. */
#define COPY_ARRAY(out, from)                                                                                          \
    (pum_array_reserve(out, (from)->count) &&                                                                          \
     (memcpy((out)->data, (from)->data, (from)->count * sizeof *(from)->data), (out)->count = (from)->count, true))

pumice_status pum_placement_settle(const pum_placement *placement, const pum_caps *caps, pum_placement *out_settled,
                                   pumice_error *err)
{
    const pum_placement *from = placement;
    pum_placement p = { .n_host = from->n_host, .total_bytes = from->total_bytes };
    const limits own = limits_of(caps);
    size_t full = from->buffer_bytes.count;
    bool fine = COPY_ARRAY(&p.pieces, &from->pieces) && COPY_ARRAY(&p.first, &from->first) &&
                COPY_ARRAY(&p.buffer_bytes, &from->buffer_bytes) && COPY_ARRAY(&p.host, &from->host);
    for (size_t i = 0; i < p.pieces.count && fine; i++) {
        pum_piece *piece = &p.pieces.data[i];
        if (pum_placement_in_pages(from, piece)) fine = reserve(&p, full, piece->size_bytes, &own, piece);
    }
    *out_settled = p;
    if (fine) return PUMICE_OK;
    pum_placement_free(out_settled);
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to lay out the weights");
}

void pum_placement_free(pum_placement *placement)
{
    pum_array_free(&placement->pieces);
    pum_array_free(&placement->first);
    pum_array_free(&placement->buffer_bytes);
    pum_array_free(&placement->host);
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
