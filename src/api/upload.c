/* SPDX-License-Identifier: Apache-2.0
 * How a model's rows get from the file to a device. Decides the way of each weight: none at all if the device reads it
 * where it is, rounded or repacked by the device, or by the host, which writes straight into the device's memory where
 * it sees it, on all cores, and else into the staging ring. */
#include "part.h"
#include "quantizer.h"
#include "repacker.h"
#include "settle.h"
#include "task.h"

typedef enum way { WAY_NONE, WAY_ROUND, WAY_DEVICE, WAY_HOST } way;

enum { MOST_WORKERS = 8 };
static const uint64_t SLICE_BYTES = 4u << 20; /* between two calls of progress */

/* Some rows of a piece. */
typedef struct slice {
    uint32_t piece;
    uint64_t row, rows;
} slice;

typedef struct upload {
    const pumice_model_params *params;
    pum_model_part *part;
    pum_load_bytes *bytes;
    pum_quantizer quantizer;
    pum_repacker repacker;
    bool staged;  /* the host does not see the device's memory */
    bool repacks; /* the device does it, as long as it does it right */
    PUM_ARRAY(slice) slices; /* what the host does: copies, or reads ahead */
    atomic_size_t next;
    atomic_bool stop;
    atomic_uint_fast64_t done; /* of the whole model */
    uint64_t total;
} upload;

/* ---- the host's way, and none ---- */

typedef struct row_source {
    const pum_weight *weight;
    uint64_t row; /* of the weight: the first that is wanted */
    pumice_status status;
    pumice_error *err;
} row_source;

/* Rows of a weight as the device has them. Rows that are rearranged while they are read are plain
 * floats, which are the same in both places. */
static void produce_rows(void *user, void *to, uint64_t first, uint64_t count)
{
    row_source *s = user;
    const pum_weight *w = s->weight;
    first += s->row;
    if (!w->data) {
        if (s->status == PUMICE_OK) s->status = pum_weight_read(w, first, count, to, s->err);
        return;
    }
    pum_dtype_pack_rows(w->dtype, count, w->cols, (const uint8_t *)w->data + first * w->row_bytes,
                        to);
}

static uint64_t device_row_bytes(const pum_weight *w)
{
    uint64_t bytes = 1; /* that it is possible was found out by pum_weights_place */
    pum_dtype_device_row_bytes(w->dtype, w->cols, &bytes);
    return bytes;
}

pumice_status pum_rows_copy(const pum_model_part *part, const pum_placement *placement, uint32_t piece, uint64_t row,
                            uint64_t rows, pumice_error *err)
{
    const pum_piece *p = &placement->pieces.data[piece];
    const pum_weight *w = &part->def->weights.data[p->tensor];
    row_source source = { .weight = w, .row = p->row_first + row, .err = err };
    uint64_t row_bytes = device_row_bytes(w);
    PUM_TRY(pum_vk_buffer_stream(part->device->vk, &part->buffers[p->buffer], p->offset_bytes + row * row_bytes,
                                 row_bytes, rows, produce_rows, &source, err));
    return source.status;
}

/* What is used where it is need only be there. */
static pumice_status do_slice(upload *u, const slice *s, uint64_t *out_bytes, pumice_error *err)
{
    const pum_placement *at = &u->part->placement;
    const pum_piece *piece = &at->pieces.data[s->piece];
    const pum_weight *w = &u->part->def->weights.data[piece->tensor];
    *out_bytes = s->rows * device_row_bytes(w);
    if (!pum_placement_in_pages(at, piece)) return pum_rows_copy(u->part, at, s->piece, s->row, s->rows, err);
    const uint8_t *data = w->data;
    if (pum_memory_populate(data + (piece->row_first + s->row) * w->row_bytes, *out_bytes)) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_IO, "'%s' cannot be read from the file, which is shorter than it was or damaged",
                    w->name);
}

static pumice_status report(upload *u, uint64_t bytes, pumice_error *err)
{
    const pumice_model_params *p = u->params;
    uint64_t done = atomic_fetch_add(&u->done, bytes) + bytes;
    if (!p->progress || !p->progress(p->progress_user, done, u->total)) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_CANCELLED, "loading was cancelled");
}

typedef struct worker {
    pum_task task;
    upload *upload;
    bool reports; /* the caller's own thread */
    pumice_status status;
    pumice_error err;
} worker;

static void work(void *user)
{
    worker *w = user;
    upload *u = w->upload;
    while (w->status == PUMICE_OK && !atomic_load(&u->stop)) {
        size_t i = atomic_fetch_add(&u->next, 1);
        if (i >= u->slices.count) break;
        uint64_t bytes;
        w->status = do_slice(u, &u->slices.data[i], &bytes, &w->err);
        if (w->status == PUMICE_OK && w->reports) w->status = report(u, bytes, &w->err);
        else atomic_fetch_add(&u->done, bytes);
        if (w->status != PUMICE_OK) atomic_store(&u->stop, true);
    }
}

/* All slices. Where the staging ring is in between, which is for one at a time, on this thread. */
static pumice_status do_slices(upload *u, pumice_error *err)
{
    worker workers[MOST_WORKERS] = { { .upload = u, .reports = true } };
    uint64_t worth = u->part->placement.total_bytes / (2 * SLICE_BYTES) + 1; /* a thread costs something too */
    uint32_t most = PUM_MIN(pum_core_count(), (uint32_t)MOST_WORKERS), n = 1;
    if (u->staged) most = 1;
    most = (uint32_t)PUM_MIN(most, worth);
    for (; n < most && n < u->slices.count; n++) {
        workers[n].upload = u;
        if (!pum_task_start(&workers[n].task, work, &workers[n])) break; /* fewer will do */
    }
    work(&workers[0]);
    for (uint32_t i = 1; i < n; i++) pum_task_join(&workers[i].task);
    for (uint32_t i = 0; i < n; i++) {
        if (workers[i].status != PUMICE_OK) return pum_fail(err, workers[i].status, "%s", workers[i].err.text);
    }
    return n > 1 ? report(u, 0, err) : PUMICE_OK; /* what the others did last */
}

static pumice_status add_slices(upload *u, uint32_t index, pumice_error *err)
{
    const pum_piece *piece = &u->part->placement.pieces.data[index];
    const pum_weight *w = &u->part->def->weights.data[piece->tensor];
    uint64_t step = PUM_MAX(SLICE_BYTES / device_row_bytes(w), 1u);
    for (uint64_t row = 0; row < piece->row_count; row += step) {
        slice s = { index, row, PUM_MIN(step, piece->row_count - row) };
        if (!pum_array_push(&u->slices, s)) {
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
        }
    }
    return PUMICE_OK;
}

/* ---- the device's ways ---- */

static way way_of(const upload *u, const pum_piece *piece, const pum_weight *w)
{
    if (pum_placement_in_pages(&u->part->placement, piece)) return WAY_NONE;
    if (w->stored != w->dtype) return WAY_ROUND;
    return u->repacks && pum_repacker_rows(&u->repacker, w) ? WAY_DEVICE : WAY_HOST;
}

/* The weight in the file's pages, if the device was given them. */
static pum_repack_source source_of(const pum_model_part *m, const pum_weight *w)
{
    pum_repack_source s = { 0 };
    uint32_t buffer;
    if (w->data && pum_placement_find_host(&m->placement, (uintptr_t)w->data, w->rows * w->row_bytes, &buffer, &s.at))
        s.buffer = &m->buffers[buffer];
    return s;
}

static pumice_status on_device(upload *u, uint32_t index, way by, pumice_error *err)
{
    const pum_piece *piece = &u->part->placement.pieces.data[index];
    const pum_weight *w = &u->part->def->weights.data[piece->tensor];
    pum_vk_buffer *buffer = &u->part->buffers[piece->buffer];
    const pum_repack_source source = source_of(u->part, w);
    uint64_t row_bytes = device_row_bytes(w);
    uint64_t step = by == WAY_ROUND ? pum_quantizer_load_rows(&u->quantizer, w)
                                    : pum_repacker_rows(&u->repacker, w);
    for (uint64_t row = 0; row < piece->row_count; row += step) {
        uint64_t rows = PUM_MIN(step, piece->row_count - row), first = piece->row_first + row,
                 at = piece->offset_bytes + row * row_bytes;
        bool wrong = false;
        PUM_TRY(by == WAY_ROUND
                    ? pum_quantizer_load(&u->quantizer, w, first, rows, buffer, at, err)
                    : pum_repacker_load(&u->repacker, w, first, rows, &source, buffer, at, &wrong, err));
        if (wrong) {
            u->repacks = false;
            return add_slices(u, index, err);
        }
        PUM_TRY(report(u, rows * row_bytes, err));
    }
    return PUMICE_OK;
}

static void count(upload *u, const pum_weight *w, const pum_piece *piece, way by)
{
    bool same = !pum_dtype_get(w->dtype)->planes[0].bytes;
    if (by == WAY_NONE) u->bytes->in_place += piece->size_bytes;
    else if (by == WAY_ROUND) u->bytes->rounded += piece->size_bytes;
    else if (same) u->bytes->copied += piece->size_bytes;
    else if (by == WAY_DEVICE && u->repacks) u->bytes->repacked_device += piece->size_bytes;
    else u->bytes->repacked_host += piece->size_bytes;
}

/* ---- a part ---- */

static pumice_status fill_buffers(upload *u, pumice_error *err)
{
    pum_model_part *m = u->part;
    for (uint32_t i = 0; i < m->placement.pieces.count; i++) {
        const pum_piece *piece = &m->placement.pieces.data[i];
        const pum_weight *w = &m->def->weights.data[piece->tensor];
        way by = way_of(u, piece, w);
        bool by_host = by == WAY_HOST || by == WAY_NONE;
        PUM_TRY(by_host ? add_slices(u, i, err) : on_device(u, i, by, err));
        count(u, w, piece, by);
    }
    return do_slices(u, err);
}

static pumice_status make_buffers(pum_model_part *m, pumice_error *err)
{
    const pum_placement *all = pum_part_buffers(m);
    size_t n = all->buffer_bytes.count;
    if (!m->buffers) m->buffers = pum_alloc_array(n, sizeof *m->buffers);
    if (!m->buffers) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
    for (size_t i = m->placement.n_host; i < n; i++) {
        pum_vk_buffer *b = &m->buffers[i];
        PUM_TRY(pum_vk_buffer_create(m->device->vk, PUM_VK_DEVICE, all->buffer_bytes.data[i], "weights", b, err));
        if (b->mapped) pum_memory_large_pages(b->mapped, b->size_bytes);
    }
    return PUMICE_OK;
}

/* Gives pages back that no weight is used in. */
static void drop_pages(pum_model_part *m)
{
    for (uint32_t i = 0; i < m->placement.n_host; i++) {
        bool used = false;
        for (size_t p = 0; p < m->placement.pieces.count; p++) used = used || m->placement.pieces.data[p].buffer == i;
        if (!used) pum_vk_buffer_destroy(m->device->vk, &m->buffers[i]);
    }
}

static pumice_status upload_part(pum_model_part *m, const pumice_model_params *params,
                                 pum_load_bytes *bytes, uint64_t *io_done, uint64_t total,
                                 pumice_error *err)
{
    PUM_TRY(make_buffers(m, err));
    const pum_tuning *t = &m->device->tuning;
    upload u = { .params = params, .part = m, .bytes = bytes, .total = total,
                 .quantizer = { .vk = m->device->vk },
                 .repacker = { .vk = m->device->vk, .wg = t->elementwise_wg,
                               .no_self_test = m->device->no_self_test } };
    pum_caps caps;
    pum_vk_trusted_caps(m->device->vk, &caps);
    size_t own = m->placement.n_host;
    u.staged = own < m->placement.buffer_bytes.count && !m->buffers[own].mapped;
    u.repacks = pum_caps_trusts(&caps, PUM_KERNEL_repack_base) &&
                (t->repack == PUM_REPACK_DEVICE || (t->repack == PUM_REPACK_STAGED && (u.staged || own)));
    atomic_init(&u.next, 0);
    atomic_init(&u.stop, false);
    atomic_init(&u.done, *io_done);
    pumice_status status = fill_buffers(&u, err);
    pum_quantizer_free(&u.quantizer);
    pum_repacker_free(&u.repacker);
    pum_array_free(&u.slices);
    drop_pages(m);
    *io_done = atomic_load(&u.done);
    pumice_status ended = pum_vk_stream_end(m->device->vk, status == PUMICE_OK ? err : NULL);
    if (status == PUMICE_OK) status = ended;
    return status == PUMICE_OK ? pum_settle_make(m, err) : status;
}

pumice_status pum_parts_upload(pumice_model *model, const pumice_model_params *params,
                               pumice_error *err)
{
    uint64_t done = 0, total = pum_parts_weight_bytes(model);
    for (uint32_t i = 0; i < model->n_parts; i++) {
        PUM_TRY(upload_part(&model->parts[i], params, &model->loaded, &done, total, err));
    }
    return PUMICE_OK;
}
