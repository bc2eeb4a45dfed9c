/* SPDX-License-Identifier: Apache-2.0
 * What a device can do at most: memory read by the faster of the ways that kernels read weights,
 * arithmetic of each kind, and what a dispatch, a barrier and a submit cost. Measured with small
 * plans made by hand, which exec/ runs like any other. Decides how long is long enough to measure;
 * knows nothing of models. */
#include "api.h"

#include <string.h>

enum {
    READ_MIB = 128,
    SOFTWARE_MIB = 16, /* for a first idea of a slow device */
    READ_ROUNDS = 32,
    MATH_INVOCATIONS = 16384,
    MATH_ROUNDS = 512,
    MANY = 64,         /* dispatches of the plans that measure what one costs */
    STEP_BYTES = 4096, /* between their outputs */
    BEST_OF = 5,
    IN_TURN = 15, /* samples of each cost, one of every cost after the other: odd */
    MAX_RUNS = 4096
};
static const uint64_t LEAST_NS = 20000000;     /* of one sample */
static const uint64_t LEAST_COST_NS = 2000000; /* of a cost's */

typedef struct roof {
    pum_vk_device *vk;
    uint32_t wg;
    pum_vk_buffer arena;
    pum_exec_buffers buffers;
    pumice_error *err;
} roof;

static pum_step make_step(const roof *r, uint32_t kernel, uint32_t groups, uint32_t rounds)
{
    const pum_kernel_info *k = &pum_kernels[kernel];
    pum_args_roof args = { .rounds = rounds, .scale = 0.75f, .shift = 0.5f };
    pum_step step = { .kernel = kernel, .spec = { r->wg }, .grid = { groups, 1, 1 } };
    uint64_t out_bytes = (uint64_t)groups * r->wg * 4, at = pum_align_up(out_bytes, STEP_BYTES);
    memcpy(step.args, &args, sizeof args);
    memcpy(step.label, "roof", sizeof "roof");
    for (uint32_t i = 0; i < k->n_bindings; i++) { /* the output first, what is read behind it */
        bool out = k->access[i] == PUM_ACCESS_W;
        uint64_t read_bytes = (uint64_t)groups * r->wg * rounds * ROOF_LOADS * 16;
        step.bind[i] = (pum_binding){ .buffer = PUM_BUFFER_ARENA,
                                      .access = k->access[i],
                                      .offset_bytes = out ? 0 : at,
                                      .size_bytes = out ? out_bytes : read_bytes };
    }
    return step;
}

/* Records the step `count` times; the copies write the same range, so that each waits for the one
 * before, or ranges of their own. */
static pumice_status record(const roof *r, const pum_step *step, uint32_t count, bool ordered,
                            pum_exec **out_exec)
{
    pum_plan plan = { 0 };
    pumice_status status = PUMICE_OK;
    *out_exec = NULL;
    for (uint32_t i = 0; i < count; i++) {
        pum_step copy = *step;
        copy.submit_end = i + 1 == count;
        if (count > 1) copy.bind[0].offset_bytes = ordered ? 0 : (uint64_t)i * STEP_BYTES;
        if (!pum_array_push(&plan.steps, copy)) {
            PUM_GOTO(pum_fail(r->err, PUMICE_ERROR_HOST_MEMORY, "no memory to measure a device"));
        }
    }
    PUM_GOTO(pum_plan_sync(&plan, r->err));
    status = pum_exec_create(r->vk, &plan, &r->buffers, false, out_exec, r->err);
fail:
    pum_plan_free(&plan);
    return status;
}

/* One sample: the time of a run among `*io_runs`, of which there are as many as take `least_ns`.
 * With `in_flight` they are waited for together, else each by itself. */
static pumice_status sample(const roof *r, pum_exec *exec, bool in_flight, uint64_t least_ns,
                            uint32_t *io_runs, double *out_ns)
{
    for (;;) {
        uint64_t ticket = 0, begin = pum_now_ns();
        for (uint32_t i = 0; i < *io_runs; i++) {
            PUM_TRY(pum_exec_submit(exec, NULL, &ticket, r->err));
            if (!in_flight) PUM_TRY(pum_vk_wait(r->vk, ticket, r->err));
        }
        PUM_TRY(pum_vk_wait(r->vk, ticket, r->err));
        uint64_t ns = pum_now_ns() - begin;
        *out_ns = (double)ns / *io_runs;
        if (ns >= least_ns || *io_runs >= MAX_RUNS) return PUMICE_OK;
        *io_runs *= 2;
    }
}

/* The least time of one run of the step among several samples, after one run that is not timed. */
static pumice_status time_step(const roof *r, const pum_step *step, double *out_ns)
{
    pum_exec *exec;
    pumice_status status;
    uint32_t runs = 1;
    double ns, best = 0;
    *out_ns = 0;
    PUM_TRY(record(r, step, 1, false, &exec));
    PUM_GOTO(pum_exec_run(exec, NULL, r->err));
    for (int i = 0; i < BEST_OF; i++) {
        PUM_GOTO(sample(r, exec, false, LEAST_NS, &runs, &ns));
        if (i == 0 || ns < best) best = ns;
    }
    *out_ns = PUM_MAX(best, 1);
fail:
    pum_exec_destroy(&exec);
    return status;
}

/* ---- memory ---- */

/* Does nothing where the device lacks what the kernel needs. */
static pumice_status measure_way(roof *r, uint32_t kernel, uint64_t bytes, pumice_roof *out,
                                 double *out_gbs)
{
    uint64_t group_bytes = (uint64_t)r->wg * READ_ROUNDS * ROOF_LOADS * 16;
    uint32_t groups = (uint32_t)(bytes / group_bytes);
    double ns;
    if (pum_kernels[kernel].needs & ~pum_vk_device_caps(r->vk)->bits) return PUMICE_OK;
    pum_step step = make_step(r, kernel, groups, READ_ROUNDS);
    PUM_TRY(time_step(r, &step, &ns));
    *out_gbs = (double)(groups * group_bytes) / ns;
    if (*out_gbs <= out->read_gbs) return PUMICE_OK;
    out->read_gbs = *out_gbs;
    out->read_bytes = groups * group_bytes;
    return PUMICE_OK;
}

static pumice_status measure_read(roof *r, uint64_t bytes, pumice_roof *out)
{
    uint64_t texels = PUM_MIN(bytes, pum_vk_device_caps(r->vk)->max_texel_bytes);
    PUM_TRY(measure_way(r, PUM_KERNEL_roof_read_base, bytes, out, &out->storage_gbs));
    return measure_way(r, PUM_KERNEL_roof_texel_texel, texels, out, &out->texel_gbs);
}

/* ---- arithmetic ---- */

/* Does nothing where the device lacks what the kernel needs. */
static pumice_status measure_math(roof *r, uint32_t kernel, double *out_gflops)
{
    if (pum_kernels[kernel].needs & ~pum_vk_device_caps(r->vk)->bits) return PUMICE_OK;
    uint32_t groups = MATH_INVOCATIONS / r->wg, rounds = MATH_ROUNDS;
    pum_step step = make_step(r, kernel, groups, rounds);
    double ns, flops = 2.0 * groups * r->wg * rounds * ROOF_STEPS * ROOF_CHAINS;
    PUM_TRY(time_step(r, &step, &ns));
    *out_gflops = flops / ns;
    return PUMICE_OK;
}

/* ---- costs ---- */

enum { WAITED, QUEUED, MANY_FREE, MANY_ORDERED, N_COSTS };

static const struct {
    uint32_t count;
    bool ordered, in_flight;
} cost_rows[N_COSTS] = { [WAITED] = { 1, false, false },
                         [QUEUED] = { 1, false, true },
                         [MANY_FREE] = { MANY, false, false },
                         [MANY_ORDERED] = { MANY, true, false } };

/* The median; sorts them. */
static double median(double *values, int count)
{
    for (int i = 1; i < count; i++) {
        double v = values[i];
        int k = i;
        for (; k > 0 && values[k - 1] > v; k--) values[k] = values[k - 1];
        values[k] = v;
    }
    return values[count / 2];
}

/* Microseconds that row `more` takes longer than row `less`, for each of its dispatches but one: the
 * median over samples that were taken one after the other, so that what else the machine does falls
 * on both. What drowns in noise is 0. */
static double cost_of(double ns[N_COSTS][IN_TURN], int more, int less)
{
    double each[IN_TURN];
    for (int i = 0; i < IN_TURN; i++) each[i] = (ns[more][i] - ns[less][i]) / (MANY - 1) / 1e3;
    return PUM_MAX(median(each, IN_TURN), 0);
}

static pumice_status measure_costs(roof *r, pumice_roof *out)
{
    pum_step step = make_step(r, PUM_KERNEL_roof_math_base, 1, 1);
    pum_exec *exec[N_COSTS] = { 0 };
    uint32_t runs[N_COSTS];
    double ns[N_COSTS][IN_TURN];
    pumice_status status;
    for (int c = 0; c < N_COSTS; c++) {
        runs[c] = 1;
        PUM_GOTO(record(r, &step, cost_rows[c].count, cost_rows[c].ordered, &exec[c]));
        PUM_GOTO(sample(r, exec[c], cost_rows[c].in_flight, LEAST_COST_NS, &runs[c], &ns[c][0]));
    }
    for (int i = 0; i < IN_TURN; i++) {
        for (int c = 0; c < N_COSTS; c++)
            PUM_GOTO(sample(r, exec[c], cost_rows[c].in_flight, LEAST_COST_NS, &runs[c], &ns[c][i]));
    }
    out->dispatch_us = cost_of(ns, MANY_FREE, WAITED);
    out->barrier_us = cost_of(ns, MANY_ORDERED, MANY_FREE);
    out->submit_wait_us = median(ns[WAITED], IN_TURN) / 1e3;
    out->submit_us = median(ns[QUEUED], IN_TURN) / 1e3;
fail:
    for (int c = 0; c < N_COSTS; c++) pum_exec_destroy(&exec[c]);
    return status;
}

/* ---- what is asked for ---- */

static double measured_rate(pumice_device *device)
{
    pumice_error ignored = { 0 };
    roof r = { .vk = device->vk, .wg = device->tuning.matvec_wg, .err = &ignored };
    pumice_roof out = { 0 };
    pumice_status status;
    const pum_caps *caps = pum_vk_device_caps(device->vk);
    uint64_t mib = caps->kind == PUMICE_DEVICE_SOFTWARE ? SOFTWARE_MIB : READ_MIB;
    uint64_t bytes = PUM_MIN(mib << 20, caps->max_buffer_range_bytes / 2);
    uint64_t whole = bytes + bytes / READ_ROUNDS + STEP_BYTES;
    r.buffers.arena = &r.arena;
    PUM_GOTO(pum_vk_buffer_create(r.vk, PUM_VK_DEVICE, whole, "measuring", &r.arena, r.err));
    PUM_GOTO(pum_vk_buffer_fill(r.vk, &r.arena, 0, whole / 4 * 4, 0x3c003c00u, r.err));
    status = measure_read(&r, bytes, &out);
fail:
    pum_vk_buffer_destroy(r.vk, &r.arena);
    return status == PUMICE_OK ? out.read_gbs * 1e9 : (double)device->tuning.read_gbs * 1e9;
}

double pum_device_read_rate(pumice_device *device)
{
    uint64_t mbs = atomic_load(&device->read_mbs);
    if (!mbs) { /* two threads may both measure: either's result will do */
        mbs = PUM_MAX((uint64_t)(measured_rate(device) / 1e6), 1u);
        atomic_store(&device->read_mbs, mbs);
    }
    return (double)mbs * 1e6;
}

pumice_status pumice_device_measure(pumice_device *device, pumice_roof *out_roof, pumice_error *err)
{
    pum_error_clear(err);
    if (!out_roof) return pum_fail(err, PUMICE_ERROR_INVALID, "out_roof must be given");
    uint32_t size = out_roof->struct_size;
    PUM_TRY(pum_params_check(size, sizeof(uint32_t), "pumice_roof", err));
    memset(out_roof, 0, size);
    out_roof->struct_size = size;
    if (!device) return pum_fail(err, PUMICE_ERROR_INVALID, "a device must be given");
    const pum_caps *caps = pum_vk_device_caps(device->vk);
    roof r = { .vk = device->vk, .wg = device->tuning.matvec_wg, .err = err };
    pumice_roof full = { .struct_size = size };
    pumice_status status;
    uint64_t bytes = PUM_MIN((uint64_t)READ_MIB << 20, caps->max_buffer_range_bytes / 2);
    uint64_t whole = bytes + bytes / READ_ROUNDS + MANY * STEP_BYTES;
    r.buffers.arena = &r.arena;
    PUM_GOTO(pum_vk_buffer_create(r.vk, PUM_VK_DEVICE, whole, "measuring", &r.arena, err));
    PUM_GOTO(pum_vk_buffer_fill(r.vk, &r.arena, 0, whole / 4 * 4, 0x3c003c00u, err));
    PUM_GOTO(measure_read(&r, bytes, &full));
    PUM_GOTO(measure_math(&r, PUM_KERNEL_roof_math_base, &full.f32_gflops));
    PUM_GOTO(measure_math(&r, PUM_KERNEL_roof_math_f16, &full.f16_gflops));
    PUM_GOTO(measure_math(&r, PUM_KERNEL_roof_dot8_dot8, &full.dot8_gops));
    full.dot8_gops *= 4; /* four products and sums a step */
    PUM_GOTO(measure_costs(&r, &full));
    memcpy(out_roof, &full, PUM_MIN((size_t)size, sizeof full));
fail:
    pum_vk_buffer_destroy(r.vk, &r.arena);
    return status;
}
