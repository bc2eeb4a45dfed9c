/* SPDX-License-Identifier: Apache-2.0
 * One dispatch of quantize.comp at a time: copies rows to the device, runs, fetches the result and
 * the sums of errors. Decides how much is done at once; the rounding is the kernel's. */
#include "quantizer.h"

#include <string.h>

#include "args.h"

enum { CHUNK_BYTES = 8 << 20, MAX_ROWS = 32768, STATS_WORDS = 4, REGION_ALIGN = 4096 };

static bool is_plain(pum_dtype type) { return pum_dtype_get(type)->block_elems == 1; }

static uint32_t source_of(pum_dtype from)
{
    return from == PUM_DTYPE_F32 ? SOURCE_F32 : from == PUM_DTYPE_F16 ? SOURCE_F16 : SOURCE_BF16;
}

static int32_t kernel_of(pum_dtype to)
{
    for (int32_t k = 0; k < PUM_KERNEL_COUNT; k++) {
        if (pum_kernels[k].family == PUM_FAMILY_QUANTIZE && pum_kernels[k].weight == (int)to) return k;
    }
    return -1;
}

bool pum_quantizer_can(pum_dtype from, pum_dtype to)
{
    return (from == PUM_DTYPE_F32 || from == PUM_DTYPE_F16 || from == PUM_DTYPE_BF16) &&
           kernel_of(to) >= 0;
}

uint64_t pum_quantizer_rows(pum_dtype from, pum_dtype to, uint64_t cols)
{
    uint64_t in = 1, out = 1;
    pum_dtype_row_bytes(from, cols, &in);
    pum_dtype_device_row_bytes(to, cols, &out);
    uint64_t rows = PUM_MIN(CHUNK_BYTES / PUM_MAX(PUM_MAX(in, out), 1), (uint64_t)MAX_ROWS);
    return PUM_MAX(rows / 16 * 16, 1); /* 16 rows are aligned for every binding */
}

typedef struct job {
    uint64_t in_bytes, out_bytes, stats_bytes; /* regions of the arena, one after the other */
    uint64_t out_at, stats_at;
    uint32_t groups, rows; /* grid */
    pum_step step;
} job;

/* Plain types are one long row. */
static job make_job(const pum_quantizer *q, pum_dtype from, pum_dtype to, uint64_t rows,
                    uint64_t cols)
{
    job j = { .step = { .kernel = (uint32_t)kernel_of(to), .submit_end = 1 } };
    uint64_t in = 0, out = 0, group = to == PUM_DTYPE_Q6_K ? 16 : 32;
    pum_dtype_row_bytes(from, cols, &in);
    pum_dtype_device_row_bytes(to, cols, &out);
    j.in_bytes = pum_align_up(in * rows, 4);
    j.out_bytes = pum_align_up(out * rows, 4);
    if (is_plain(to)) cols *= rows, rows = 1;
    j.groups = (uint32_t)pum_ceil_div(pum_ceil_div(cols, group), q->wg);
    j.rows = (uint32_t)rows;
    j.stats_bytes = (uint64_t)j.groups * j.rows * STATS_WORDS * 4;
    j.out_at = pum_align_up(j.in_bytes, REGION_ALIGN);
    j.stats_at = j.out_at + pum_align_up(j.out_bytes, REGION_ALIGN);
    pum_args_quantize args = { .cols = (uint32_t)cols, .rows = (uint32_t)rows };
    memcpy(j.step.args, &args, sizeof args);
    memcpy(j.step.label, "quantize", sizeof "quantize");
    j.step.spec[PUM_SPEC_QUANTIZE_WG] = q->wg;
    j.step.spec[PUM_SPEC_QUANTIZE_SRC] = source_of(from);
    j.step.grid[0] = j.groups;
    j.step.grid[1] = j.rows;
    j.step.grid[2] = 1;
    return j;
}

static pumice_status make_room(pum_quantizer *q, uint64_t bytes, pumice_error *err)
{
    if (q->arena.size_bytes >= bytes) return PUMICE_OK;
    pum_vk_buffer_destroy(q->vk, &q->arena);
    return pum_vk_buffer_create(q->vk, PUM_VK_DEVICE, bytes, "quantizing", &q->arena, err);
}

static pumice_status add_errors(pum_quantizer *q, const job *j, pum_quant_error *error,
                                pumice_error *err)
{
    uint64_t groups = (uint64_t)j->groups * j->rows;
    float *stats = pum_alloc((size_t)j->stats_bytes);
    if (!stats) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to quantize");
    pumice_status status =
        pum_vk_buffer_read(q->vk, &q->arena, j->stats_at, stats, j->stats_bytes, err);
    for (uint64_t g = 0; status == PUMICE_OK && g < groups; g++) {
        error->squares += (double)stats[STATS_WORDS * g];
        error->size += (double)stats[STATS_WORDS * g + 1];
        error->most = PUM_MAX(error->most, (double)stats[STATS_WORDS * g + 2]);
    }
    pum_free(stats);
    return status;
}

pumice_status pum_quantizer_run(pum_quantizer *q, pum_dtype from, const void *data, pum_dtype to,
                                uint64_t rows, uint64_t cols, void *out_rows,
                                pum_vk_buffer *to_buffer, uint64_t at, pum_quant_error *error,
                                pumice_error *err)
{
    if (!q->wg) q->wg = PUM_MIN(pum_vk_device_caps(q->vk)->max_workgroup_invocations, 64u) / 32 * 32;
    job j = make_job(q, from, to, rows, cols);
    pum_exec_buffers buffers = { .arena = &q->arena };
    pum_plan plan = { .steps = { &j.step, 1, 1 } };
    pum_exec *exec = NULL;
    uint64_t in_bytes = 0;
    pumice_status status;
    pum_dtype_row_bytes(from, cols, &in_bytes);
    PUM_TRY(make_room(q, j.stats_at + j.stats_bytes, err));
    PUM_TRY(pum_vk_buffer_write(q->vk, &q->arena, 0, data, in_bytes * rows, err));
    j.step.bind[0] = (pum_binding){ PUM_BUFFER_ARENA, PUM_ACCESS_R, 0, j.in_bytes };
    j.step.bind[1] = (pum_binding){ PUM_BUFFER_ARENA, PUM_ACCESS_W, j.out_at, j.out_bytes };
    j.step.bind[2] = (pum_binding){ PUM_BUFFER_ARENA, PUM_ACCESS_W, j.stats_at, j.stats_bytes };
    if (to_buffer) {
        j.step.bind[1].buffer = PUM_BUFFER_WEIGHT;
        j.step.bind[1].offset_bytes = at;
        buffers.weights = to_buffer;
        buffers.n_weights = 1;
    }
    PUM_TRY(pum_exec_create(q->vk, &plan, &buffers, false, &exec, err));
    PUM_GOTO(pum_exec_run(exec, NULL, err));
    if (out_rows) {
        PUM_GOTO(pum_vk_buffer_read(q->vk, &q->arena, j.out_at, out_rows, j.out_bytes, err));
    }
    if (error) PUM_GOTO(add_errors(q, &j, error, err));
fail:
    pum_exec_destroy(&exec);
    return status;
}

uint64_t pum_quantizer_load_rows(const pum_quantizer *q, const pum_weight *w)
{
    uint64_t row = 1, unit = PUM_MAX(pum_vk_device_caps(q->vk)->offset_align_bytes, 64u);
    pum_dtype_device_row_bytes(w->dtype, w->cols, &row);
    for (; unit > 1 && row % 2 == 0; row /= 2) unit /= 2; /* alignments are powers of two */
    return pum_align_up(pum_quantizer_rows(w->stored, w->dtype, w->cols), unit);
}

pumice_status pum_quantizer_load(pum_quantizer *q, const pum_weight *w, uint64_t row_first,
                                 uint64_t rows, pum_vk_buffer *to_buffer, uint64_t at,
                                 pumice_error *err)
{
    const void *data = (const uint8_t *)w->data + (w->data ? row_first * w->row_bytes : 0);
    uint8_t *own = NULL;
    pumice_status status;
    if (!w->data) {
        data = own = pum_alloc((size_t)(rows * w->row_bytes));
        if (!own) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to quantize");
        PUM_GOTO(pum_weight_read(w, row_first, rows, own, err));
    }
    PUM_GOTO(pum_quantizer_run(q, w->stored, data, w->dtype, rows, w->cols, NULL, to_buffer, at,
                               NULL, err));
fail:
    pum_free(own);
    return status;
}

void pum_quantizer_free(pum_quantizer *q)
{
    if (q->vk) pum_vk_buffer_destroy(q->vk, &q->arena);
    *q = (pum_quantizer){ 0 };
}
