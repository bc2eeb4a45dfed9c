/* SPDX-License-Identifier: Apache-2.0
 * Generic values, a family's rows over them, then the device's limits. */
#include "tuning.h"

#include "family.h"

static void clamp_workgroup(uint32_t *wg, const pum_caps *caps)
{
    while (*wg > 1 && (*wg > caps->max_workgroup_invocations || *wg > caps->max_workgroup_size[0])) *wg /= 2;
}

void pum_tuning_for(const pum_caps *caps, pum_tuning *out_tuning)
{
    pum_tuning t = {
#define PUM_TUNING_FIELD(field, value, text) .field = value,
#include "tuning_fields.def"
#undef PUM_TUNING_FIELD
    };
#define PUM_TUNING(id, field, value) \
    if (caps->family == PUM_GPU_##id) t.field = value;
#include "tuning.def"
#undef PUM_TUNING
    clamp_workgroup(&t.matvec_wg, caps);
    clamp_workgroup(&t.attn_decode_wg, caps);
    clamp_workgroup(&t.attn_prefill_wg, caps);
    clamp_workgroup(&t.norm_wg, caps);
    clamp_workgroup(&t.sample_wg, caps);
    clamp_workgroup(&t.elementwise_wg, caps);
    if (t.matvec_group > t.matvec_wg) t.matvec_group = t.matvec_wg;
    if (!t.matmul_reg) { /* tiles: smaller ones where the workgroup or its shared memory does not fit */
        uint32_t bytes = 4 * t.matmul_bk * (t.matmul_bm + t.matmul_bn + 2);
        while (t.matmul_bm > t.matmul_tm
               && (t.matmul_wg > caps->max_workgroup_invocations || bytes > caps->shared_memory_bytes)) {
            t.matmul_bm /= 2;
            t.matmul_wg /= 2;
            bytes = 4 * t.matmul_bk * (t.matmul_bm + t.matmul_bn + 2);
        }
    }
    *out_tuning = t;
}
