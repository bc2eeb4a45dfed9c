/* SPDX-License-Identifier: Apache-2.0
 * Generic values, a family's rows over them, then the device's limits: what comes out runs on the
 * device whatever the rows say. The numbers are the table's; here stand only the relations that
 * kernels rely on between them. */
#include "tuning.h"

#include "family.h"

/* Workgroup sizes halve until they fit, so a power of two stays one. Kernels of the sub tier take
 * it that subgroups are full: a whole number of them, at least one. */
static void fit_workgroup(uint32_t *wg, const pum_caps *caps)
{
    uint32_t most = PUM_MIN(caps->max_workgroup_invocations, caps->max_workgroup_size[0]);
    *wg = PUM_MAX(*wg, 1u);
    if ((caps->bits & PUM_CAP_SUBGROUP) && caps->subgroup_size) {
        *wg = (uint32_t)pum_align_up(*wg, caps->subgroup_size);
    }
    while (*wg > 1 && *wg > most) *wg /= 2;
}

static bool tile_fits(const pum_tuning *t, const pum_caps *caps)
{
    /* matmul.comp keeps BK slices of both tiles in shared memory, a word of padding each */
    uint64_t bytes = 4ull * t->matmul_bk * ((uint64_t)t->matmul_bm + t->matmul_bn + 2);
    return t->matmul_wg <= caps->max_workgroup_invocations
           && t->matmul_wg <= caps->max_workgroup_size[0] && bytes <= caps->shared_memory_bytes;
}

/* WG = (BM / TM) * (BN / TN): a smaller tile is a smaller workgroup. */
static void fit_tile(pum_tuning *t, const pum_caps *caps)
{
    t->matmul_wg = t->matmul_bm / t->matmul_tm * (t->matmul_bn / t->matmul_tn);
    while (!tile_fits(t, caps)) {
        if (t->matmul_bm > t->matmul_tm && t->matmul_bm >= t->matmul_bn) t->matmul_bm /= 2;
        else if (t->matmul_bn > t->matmul_tn) t->matmul_bn /= 2;
        else if (t->matmul_bk > 4) t->matmul_bk /= 2;
        else break;
        t->matmul_wg = t->matmul_bm / t->matmul_tm * (t->matmul_bn / t->matmul_tn);
    }
}

static pum_tuning table_of(const pum_caps *caps)
{
    pum_tuning t = {
#define PUM_TUNING_FIELD(field, value, text) .field = value,
#include "tuning_fields.def"
#undef PUM_TUNING_FIELD
    };
#define PUM_TUNING(id, field, value)                                                               \
    if (caps->family == PUM_GPU_##id) t.field = value;
#include "tuning.def"
#undef PUM_TUNING
    return t;
}

uint32_t pum_tuning_subgroup(const pum_caps *caps)
{
    uint32_t size = table_of(caps).subgroup;
    return size && pum_caps_may_pin(caps, size) ? size : caps->subgroup_size;
}

void pum_tuning_row_by_row(pum_tuning *tuning)
{
    tuning->matmul_texel_vec_rows = tuning->matvec_max_rows = tuning->attn_rows = UINT32_MAX;
    tuning->matvec_cols = 1;
}

double pum_tuning_bandwidth(const pum_caps *caps, const pum_tuning *tuning)
{
    return caps->peak_gbs > 0 ? caps->peak_gbs : (double)PUM_MAX(tuning->read_gbs, 1u);
}

void pum_tuning_for(const pum_caps *caps, pum_tuning *out_tuning)
{
    pum_tuning t = table_of(caps);
    /* what driver bugs ask for */
    if (caps->flags & PUM_FLAG_SHORT_LOOPS) t.sample_wg = PUM_MAX(t.sample_wg, 256u);
    if (caps->flags & PUM_FLAG_SHORT_SUBMITS) t.submit_us = PUM_MIN(t.submit_us, 1000u);
    if (caps->flags & PUM_FLAG_REPACK) t.repack = PUM_REPACK_DEVICE;
    if (!(caps->bits & PUM_CAP_REPACK)) t.repack = PUM_REPACK_HOST;
    fit_workgroup(&t.matvec_wg, caps);
    uint32_t most = PUM_MIN(caps->max_workgroup_invocations, caps->max_workgroup_size[0]);
    while (t.attn_wg > 1 && t.attn_wg > most) t.attn_wg /= 2; /* no subgroups in that tier */
    fit_workgroup(&t.norm_wg, caps);
    fit_workgroup(&t.sample_wg, caps);
    fit_workgroup(&t.elementwise_wg, caps);
    if (t.matvec_group > t.matvec_wg) t.matvec_group = t.matvec_wg;
    if (t.matmul_reg) { /* 8 x 8 sums an invocation: matmul_reg.comp */
        fit_workgroup(&t.matmul_wg, caps);
        t.matmul_bm = 8;
        t.matmul_bn = 8 * t.matmul_wg;
    } else {
        fit_tile(&t, caps);
    }
    *out_tuning = t;
}
