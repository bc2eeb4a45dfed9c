/* SPDX-License-Identifier: Apache-2.0
 * A model on its devices: each part's weights laid out and uploaded. Where the model is cut is
 * cut.c's business. */
#include "part.h"

#include "quantizer.h"
#include "api.h"

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

/* What is uploaded, of all parts. */
typedef struct upload {
    const pumice_model_params *params;
    pum_quantizer *quantizer; /* of the device at hand */
    uint64_t done, total;
    pumice_error *err;
} upload;

static pumice_status upload_piece(pum_model_part *m, const pum_piece *piece, upload *u)
{
    const uint64_t slice = 8ull << 20; /* between two calls of progress */
    const pumice_model_params *p = u->params;
    const pum_weight *w = &m->def->weights.data[piece->tensor];
    row_source source = { .weight = w, .row = piece->row_first, .err = u->err };
    pum_vk_buffer *buffer = &m->buffers[piece->buffer];
    uint64_t row_bytes = 0, at = piece->offset_bytes;
    pum_dtype_device_row_bytes(w->dtype, w->cols, &row_bytes);
    bool rounds = w->stored != w->dtype;
    uint64_t step =
        rounds ? pum_quantizer_load_rows(u->quantizer, w) : PUM_MAX(slice / row_bytes, 1u);
    for (uint64_t row = 0; row < piece->row_count; row += step) {
        uint64_t rows = PUM_MIN(step, piece->row_count - row), n = rows * row_bytes;
        PUM_TRY(rounds ? pum_quantizer_load(u->quantizer, w, source.row, rows, buffer, at, u->err)
                       : pum_vk_buffer_stream(m->device->vk, buffer, at, row_bytes, rows,
                                              produce_rows, &source, u->err));
        if (source.status != PUMICE_OK) return source.status;
        source.row += rows;
        at += n;
        u->done += n;
        if (p->progress && p->progress(p->progress_user, u->done, u->total)) {
            return pum_fail(u->err, PUMICE_ERROR_CANCELLED, "loading was cancelled");
        }
    }
    return PUMICE_OK;
}

static pumice_status upload_part(pum_model_part *m, upload *u)
{
    size_t n = m->placement.buffer_bytes.count;
    m->buffers = pum_alloc_array(n, sizeof *m->buffers);
    if (!m->buffers)
        return pum_fail(u->err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
    for (size_t i = 0; i < n; i++) {
        PUM_TRY(pum_vk_buffer_create(m->device->vk, PUM_VK_DEVICE,
                                     m->placement.buffer_bytes.data[i], "weights", &m->buffers[i],
                                     u->err));
    }
    pumice_status status = PUMICE_OK;
    pum_quantizer quantizer = { .vk = m->device->vk };
    u->quantizer = &quantizer;
    for (size_t i = 0; i < m->placement.pieces.count && status == PUMICE_OK; i++) {
        status = upload_piece(m, &m->placement.pieces.data[i], u);
    }
    pum_quantizer_free(&quantizer);
    pumice_status ended = pum_vk_stream_end(m->device->vk, status == PUMICE_OK ? u->err : NULL);
    return status == PUMICE_OK ? ended : status;
}

pumice_status pum_parts_upload(pumice_model *model, const pumice_model_params *params,
                               pumice_error *err)
{
    upload u = { .params = params, .total = pum_parts_weight_bytes(model), .err = err };
    for (uint32_t i = 0; i < model->n_parts; i++) PUM_TRY(upload_part(&model->parts[i], &u));
    return PUMICE_OK;
}

/* How many layers each device takes, into counts[n]. */
static pumice_status choose_counts(const pumice_model *m, pumice_device *const *devices, uint32_t n,
                                   const pumice_session_params *session, uint32_t *counts,
                                   pumice_error *err)
{
    pum_cut_device worth[PUM_MAX_PARTS];
    if (n == 1) {
        counts[0] = m->def.hp.n_layers;
        return PUMICE_OK;
    }
    for (uint32_t i = 0; i < n; i++) pum_cut_device_of(devices, n, i, &worth[i]);
    return pum_cut_make(&m->def, session, worth, n, counts, err);
}

static pumice_status make_part(pumice_model *m, pumice_device *device, uint32_t first,
                               uint32_t count, pumice_error *err)
{
    pum_model_part *part = &m->parts[m->n_parts++];
    pum_device_keep(device);
    part->device = device;
    part->def = &m->def;
    if (count != m->def.hp.n_layers) {
        PUM_TRY(pum_model_def_part(&m->def, first, count, &part->own, err));
        part->def = &part->own;
    }
    return pum_weights_place(part->def, pum_vk_device_caps(device->vk), &part->placement, err);
}

pumice_status pum_parts_make_one(pumice_model *model, pumice_device *device, uint32_t first,
                                 uint32_t count, pumice_error *err)
{
    model->parts = pum_alloc_array(1, sizeof *model->parts);
    if (!model->parts) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
    return make_part(model, device, first, count, err);
}

pumice_status pum_parts_make(pumice_model *model, pumice_device *const *devices, uint32_t n,
                             const uint32_t *counts, const pumice_session_params *session,
                             pumice_error *err)
{
    uint32_t chosen[PUM_MAX_PARTS], first = 0;
    if (n > PUM_MAX_PARTS) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "at most %d devices are possible, not %u",
                        PUM_MAX_PARTS, n);
    }
    if (counts) PUM_TRY(pum_cut_check(&model->def, counts, n, err));
    else PUM_TRY(choose_counts(model, devices, n, session, chosen, err));
    if (!counts) counts = chosen;
    model->parts = pum_alloc_array(n, sizeof *model->parts);
    if (!model->parts) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
    for (uint32_t i = 0; i < n; i++) {
        PUM_TRY(make_part(model, devices[i], first, counts[i], err));
        first += counts[i];
    }
    return PUMICE_OK;
}

void pum_parts_free(pumice_model *model)
{
    for (uint32_t i = 0; i < model->n_parts; i++) {
        pum_model_part *p = &model->parts[i];
        for (size_t b = 0; p->buffers && b < p->placement.buffer_bytes.count; b++) {
            pum_vk_buffer_destroy(p->device->vk, &p->buffers[b]);
        }
        pum_free(p->buffers);
        pum_placement_free(&p->placement);
        pum_model_def_free(&p->own);
        pumice_device_destroy(&p->device);
    }
    pum_free(model->parts);
    model->parts = NULL;
    model->n_parts = 0;
}

uint64_t pum_parts_weight_bytes(const pumice_model *model)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->n_parts; i++) bytes += model->parts[i].placement.total_bytes;
    return bytes;
}
