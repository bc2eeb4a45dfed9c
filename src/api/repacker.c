/* SPDX-License-Identifier: Apache-2.0
 * Dispatches of repack.comp: blocks go into a region of a scratch buffer as a stream, and a plan of
 * one step brings them from there into place. Decides how much is done at once; barriers are the
 * stream's and the executor's, which keep apart what is submitted one after the other. */
#include "repacker.h"

#include <string.h>

#include "args.h"

enum { KERNEL = PUM_KERNEL_repack_base, PROOF_ROWS = 4 };

static void row_sizes(const pum_weight *w, uint64_t *out_file, uint64_t *out_device)
{
    *out_file = *out_device = 0;
    pum_dtype_row_bytes(w->dtype, w->cols, out_file);
    pum_dtype_device_row_bytes(w->dtype, w->cols, out_device);
}

uint64_t pum_repacker_rows(const pum_repacker *r, const pum_weight *w)
{
    const pum_caps *caps = pum_vk_device_caps(r->vk);
    uint64_t file, device, unit = PUM_MAX(caps->offset_align_bytes, 64u);
    row_sizes(w, &file, &device);
    if (!pum_dtype_get(w->dtype)->planes[0].bytes || !w->data || w->stored != w->dtype) return 0;
    for (uint64_t d = device; unit > 1 && d % 2 == 0; d /= 2) unit /= 2; /* alignments are powers of two */
    return PUM_REPACK_REGION_BYTES / PUM_MAX(file, device) / unit * unit;
}

/* The step that reads rows from bytes [from, from + first...) of binding 0. */
static pum_step make_step(const pum_repacker *r, const pum_weight *w, uint64_t rows, uint32_t first)
{
    const pum_dtype_info *info = pum_dtype_get(w->dtype);
    const pum_caps *caps = pum_vk_device_caps(r->vk);
    const pum_plane *p = info->planes;
    uint64_t file, device;
    row_sizes(w, &file, &device);
    pum_args_repack args = { first, (uint32_t)rows, (uint32_t)(w->cols / info->block_elems),
                             info->block_bytes, p[0].at, p[0].bytes, p[1].at, p[1].bytes,
                             p[2].at, p[2].bytes };
    pum_step step = { .kernel = KERNEL, .spec = { r->wg }, .grid = { 1, 1, 1 }, .submit_end = 1 };
    uint64_t groups = pum_ceil_div(rows * device / 4, r->wg);
    step.grid[1] = (uint32_t)pum_ceil_div(groups, caps->max_workgroup_count[0]);
    step.grid[0] = (uint32_t)pum_ceil_div(groups, step.grid[1]);
    memcpy(step.args, &args, sizeof args);
    memcpy(step.label, "repack", sizeof "repack");
    step.bind[0].size_bytes = pum_align_up(first + rows * file, 4);
    step.bind[1].size_bytes = rows * device;
    return step;
}

typedef struct blocks {
    const uint8_t *data;
    uint64_t row_bytes;
} blocks;

static void produce(void *user, void *to, uint64_t first, uint64_t count)
{
    const blocks *b = user;
    memcpy(to, b->data + first * b->row_bytes, (size_t)(count * b->row_bytes));
}

/* The first few rows, if this driver has not yet shown that it can. */
static pumice_status prove(pum_repacker *r, pum_plan *plan, const pum_exec_buffers *buffers,
                           bool *out_wrong, pumice_error *err)
{
    pum_exec_check check = { 0 };
    *out_wrong = false;
    if (r->no_self_test) return PUMICE_OK;
    PUM_TRY(pum_exec_prove(r->vk, plan, buffers, NULL, &check, err));
    if (!check.bad) return PUMICE_OK;
    pum_log_write(pum_vk_device_log(r->vk), PUMICE_LOG_WARNING,
                  "kernel '%s' moves bytes wrongly on '%s' with this version of its driver: weights are "
                  "brought into the device's form on the host instead",
                  check.kernel, pum_vk_device_caps(r->vk)->name);
    pum_vk_distrust(r->vk, KERNEL);
    *out_wrong = true;
    return PUMICE_OK;
}

pumice_status pum_repacker_load(pum_repacker *r, const pum_weight *w, uint64_t row_first,
                                uint64_t rows, const pum_repack_source *source,
                                pum_vk_buffer *to_buffer, uint64_t at, bool *out_wrong,
                                pumice_error *err)
{
    uint32_t region = r->next, first = 0;
    uint64_t from = (uint64_t)region * PUM_REPACK_REGION_BYTES, file, device;
    const uint64_t align = PUM_MAX(pum_vk_device_caps(r->vk)->offset_align_bytes, 4u);
    pum_vk_buffer both[2] = { *to_buffer };
    *out_wrong = false;
    row_sizes(w, &file, &device);
    pum_exec_destroy(&r->exec[region]); /* waits: the region is free now */
    if (source->buffer) {
        both[1] = *source->buffer;
        from = source->at + row_first * file;
        first = (uint32_t)(from % align);
        from -= first;
    } else {
        blocks b = { (const uint8_t *)w->data + row_first * file, file };
        if (!r->scratch.buffer) {
            PUM_TRY(pum_vk_buffer_create(r->vk, PUM_VK_DEVICE,
                                         (uint64_t)PUM_REPACK_REGIONS * PUM_REPACK_REGION_BYTES,
                                         "repacking", &r->scratch, err));
        }
        PUM_TRY(pum_vk_buffer_stream(r->vk, &r->scratch, from, file, rows, produce, &b, err));
        both[1] = r->scratch;
    }
    pum_exec_buffers buffers = { .weights = both, .n_weights = 2 };
    pum_step step = make_step(r, w, PUM_MIN(rows, (uint64_t)PROOF_ROWS), first);
    pum_plan plan = { .steps = { &step, 1, 1 } };
    for (int whole = 0; whole < 2; whole++) { /* the proof, and all */
        if (whole) step = make_step(r, w, rows, first);
        step.bind[0] = (pum_binding){ PUM_BUFFER_WEIGHT + 1, PUM_ACCESS_R, from, step.bind[0].size_bytes };
        step.bind[1] = (pum_binding){ PUM_BUFFER_WEIGHT, PUM_ACCESS_W, at, step.bind[1].size_bytes };
        if (!whole) PUM_TRY(prove(r, &plan, &buffers, out_wrong, err));
        if (*out_wrong) return PUMICE_OK;
    }
    uint64_t ticket;
    PUM_TRY(pum_exec_create(r->vk, &plan, &buffers, false, &r->exec[region], err));
    PUM_TRY(pum_exec_submit(r->exec[region], NULL, &ticket, err));
    r->next = (region + 1) % PUM_REPACK_REGIONS;
    return PUMICE_OK;
}

void pum_repacker_free(pum_repacker *r)
{
    for (int i = 0; i < PUM_REPACK_REGIONS; i++) pum_exec_destroy(&r->exec[i]);
    if (r->vk) pum_vk_buffer_destroy(r->vk, &r->scratch);
    *r = (pum_repacker){ 0 };
}
