/* SPDX-License-Identifier: Apache-2.0
 * Which function is the truth of which kernel family. Nothing else. */
#include "ref.h"

static const pum_ref_fn functions[PUM_FAMILY_COUNT] = {
    [PUM_FAMILY_EMBED] = pum_ref_embed,
    [PUM_FAMILY_NORM] = pum_ref_norm,
    [PUM_FAMILY_NORM_Q8] = pum_ref_norm_q8,
    [PUM_FAMILY_QUANTIZE_ACT] = pum_ref_quantize_act,
    [PUM_FAMILY_MATVEC] = pum_ref_matvec,
    [PUM_FAMILY_MATVEC_DOT8] = pum_ref_matvec_dot8,
    [PUM_FAMILY_MATMUL] = pum_ref_matmul,
    [PUM_FAMILY_MATMUL_REG] = pum_ref_matmul_reg,
    [PUM_FAMILY_MATMUL_COOP] = pum_ref_matmul_coop,
    [PUM_FAMILY_MATVEC_TEXEL] = pum_ref_matvec_texel,
    [PUM_FAMILY_MATMUL_TEXEL] = pum_ref_matmul_texel,
    [PUM_FAMILY_ROPE] = pum_ref_rope,
    [PUM_FAMILY_KV_STORE] = pum_ref_kv_store,
    [PUM_FAMILY_ROPE_KV] = pum_ref_rope_kv,
    [PUM_FAMILY_ROPE_KV_FLOAT] = pum_ref_rope_kv,
    [PUM_FAMILY_ATTENTION] = pum_ref_attention,
    [PUM_FAMILY_ATTENTION_FLOAT] = pum_ref_attention,
    [PUM_FAMILY_ATTN_MERGE] = pum_ref_attn_merge,
    [PUM_FAMILY_ACT] = pum_ref_act,
    [PUM_FAMILY_ADD] = pum_ref_add,
    [PUM_FAMILY_LIMIT] = pum_ref_limit,
    [PUM_FAMILY_COPY] = pum_ref_copy,
    [PUM_FAMILY_GATHER_ROWS] = pum_ref_gather_rows,
    [PUM_FAMILY_SOFTMAX] = pum_ref_softmax,
    [PUM_FAMILY_ROUTE] = pum_ref_route,
    [PUM_FAMILY_EXPERT_GROUP] = pum_ref_expert_group,
    [PUM_FAMILY_EXPERT_MATVEC] = pum_ref_expert_matvec,
    [PUM_FAMILY_EXPERT_MATMUL] = pum_ref_expert_matmul,
    [PUM_FAMILY_EXPERT_SCALE] = pum_ref_expert_scale,
    [PUM_FAMILY_EXPERT_SUM] = pum_ref_expert_sum,
    [PUM_FAMILY_ARGMAX] = pum_ref_argmax,
    [PUM_FAMILY_SAMPLE] = pum_ref_sample,
    [PUM_FAMILY_SCORE] = pum_ref_score,
    [PUM_FAMILY_REPACK] = pum_ref_repack,
    [PUM_FAMILY_QUANTIZE] = pum_ref_quantize_rows,
    [PUM_FAMILY_ROOF_READ] = pum_ref_roof_read,
    [PUM_FAMILY_ROOF_TEXEL] = pum_ref_roof_read,
    [PUM_FAMILY_ROOF_MATH] = pum_ref_roof_math,
    [PUM_FAMILY_ROOF_DOT8] = pum_ref_roof_dot8,
};

bool pum_ref_run(const pum_ref_step *step)
{
    if (step->family >= PUM_FAMILY_COUNT || !functions[step->family]) return false;
    return functions[step->family](step);
}
