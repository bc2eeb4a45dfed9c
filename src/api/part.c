/* SPDX-License-Identifier: Apache-2.0
 * A model on its devices: each part's weights laid out. Where the model is cut is cut.c's business,
 * how the weights get there upload.c's. */
#include "part.h"

#include "settle.h"

/* How many layers each device takes, into counts[n]. */
static pumice_status choose_counts(const pumice_model *m, pumice_device *const *devices, uint32_t n,
                                   const pumice_session_params *session, uint32_t *counts,
                                   pumice_error *err)
{
    pum_cut_device worth[PUM_MAX_PARTS];
    if (n == 1) {
        counts[0] = pum_model_def_layers(&m->def);
        return PUMICE_OK;
    }
    for (uint32_t i = 0; i < n; i++) pum_cut_device_of(devices, n, i, &worth[i]);
    return pum_cut_make(&m->def, session, worth, n, counts, err);
}

static void drop_placement(pum_model_part *p)
{
    for (size_t b = 0; p->buffers && b < pum_part_buffers(p)->buffer_bytes.count; b++) {
        pum_vk_buffer_destroy(p->device->vk, &p->buffers[b]);
    }
    pum_free(p->buffers);
    p->buffers = NULL;
    pum_placement_free(&p->placement);
    pum_placement_free(&p->settled);
}

/* How long the device reads the mapped file where it is. */
static uint32_t in_place(const pumice_model *m, const pumice_device *device)
{
    const pum_caps *caps = pum_vk_device_caps(device->vk);
    if (!(caps->bits & PUM_CAP_HOST_IMPORT)) return PUMICE_IN_PLACE_NEVER;
    if (caps->flags & PUM_FLAG_HOST_IMPORT) return PUMICE_IN_PLACE_ALWAYS;
    return device->tuning.host_import ? m->in_place : PUMICE_IN_PLACE_NEVER;
}

/* Whether a weight lies in the file's pages. */
static bool uses_pages(const pum_placement *at)
{
    for (size_t i = 0; i < at->pieces.count; i++) {
        if (pum_placement_in_pages(at, &at->pieces.data[i])) return true;
    }
    return false;
}

/* Lays the weights out with the file's pages as buffers, `at_first` for a while; false, and nothing is laid out, where
 * the driver does not take them: then all is copied. */
static bool place_in_place(pum_model_part *p, bool at_first)
{
    pumice_error err = { 0 };
    pum_placement *at = &p->placement;
    const pum_caps *caps = pum_vk_device_caps(p->device->vk);
    pumice_status status = pum_weights_place(p->def, caps, true, at, &err);
    if (status == PUMICE_OK && at_first && uses_pages(at)) status = pum_placement_settle(at, caps, &p->settled, &err);
    if (status == PUMICE_OK) p->buffers = pum_alloc_array(pum_part_buffers(p)->buffer_bytes.count, sizeof *p->buffers);
    for (uint32_t i = 0; i < at->n_host && status == PUMICE_OK && p->buffers; i++) {
        status = pum_vk_buffer_import(p->device->vk, (const void *)(uintptr_t)at->host.data[i],
                                      at->buffer_bytes.data[i], "file", &p->buffers[i], &err);
    }
    if (status == PUMICE_OK && p->buffers) return true;
    pum_log_write(pum_vk_device_log(p->device->vk), PUMICE_LOG_INFO, "weights are copied, not used where they are: %s",
                  err.text[0] ? err.text : "no memory");
    drop_placement(p);
    return false;
}

static pumice_status make_part(pumice_model *m, pumice_device *device, uint32_t first,
                               uint32_t count, pumice_error *err)
{
    pum_model_part *part = &m->parts[m->n_parts++];
    pum_device_keep(device);
    part->device = device;
    part->def = &m->def;
    if (count != pum_model_def_layers(&m->def)) {
        PUM_TRY(pum_model_def_part(&m->def, first, count, &part->own, err));
        part->def = &part->own;
    }
    uint32_t how = in_place(m, device);
    if (how != PUMICE_IN_PLACE_NEVER && place_in_place(part, how == PUMICE_IN_PLACE_AT_FIRST)) return PUMICE_OK;
    return pum_weights_place(part->def, pum_vk_device_caps(device->vk), false, &part->placement, err);
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
        pum_settle_end(p);
        drop_placement(p);
        pum_model_def_free(&p->own);
        pumice_device_destroy(&p->device);
    }
    pum_free(model->parts);
    model->parts = NULL;
    model->n_parts = 0;
}

pum_load_bytes pum_parts_loaded(const pumice_model *model)
{
    pum_load_bytes b = model->loaded;
    for (uint32_t i = 0; i < model->n_parts; i++) {
        const pum_model_part *p = &model->parts[i];
        if (!atomic_load(&p->is_settled)) continue;
        for (size_t k = 0; k < p->placement.pieces.count; k++) {
            const pum_piece *piece = &p->placement.pieces.data[k];
            if (!pum_placement_in_pages(&p->placement, piece)) continue;
            b.in_place -= piece->size_bytes;
            b.copied += piece->size_bytes;
        }
    }
    return b;
}

uint64_t pum_parts_weight_bytes(const pumice_model *model)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->n_parts; i++) bytes += model->parts[i].placement.total_bytes;
    return bytes;
}
