#version 450
// SPDX-License-Identifier: Apache-2.0
// Attention of single rows: one workgroup per (head, row). Walks the visible cells in blocks of CELLS: every
// invocation scores some cells, then every invocation owns a group of dims (and a share of the cells where there
// are more invocations than groups) and adds up the weighted values. Softmax runs online: the maximum is agreed per
// block, sums are rescaled when it rises (Milakov & Gimelshein, 2018; Dao et al., 2022).
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint HEAD_DIM = 64;
layout(constant_id = 2) const uint KT = 1;
layout(constant_id = 3) const uint VT = 1;
layout(push_constant) uniform push { pum_args_attn a; };
layout(set = 0, binding = 0) readonly buffer q_words { float q[]; };
layout(set = 0, binding = 1) readonly buffer kc_words { uint kc[]; };
layout(set = 0, binding = 2) readonly buffer vc_words { uint vc[]; };
layout(set = 0, binding = 3) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 4) writeonly buffer y_words { float y[]; };
#include "lib/step.glsl"
#include "lib/kv.glsl"
#include "lib/attn.glsl"
#include "lib/reduce.glsl"

const uint CELLS = 128u;
const uint OWN = (GROUPS + WG - 1u) / WG;         // groups of dims per invocation
const uint PARTS = WG >= GROUPS ? WG / GROUPS : 1u; // invocations that share a group
shared float scores[CELLS];
shared vec4 qs[GROUPS];
shared vec4 parts[WG];

void score_block(uint c0, uint n, uint seq, uint kv_head, float slope)
{
    for (uint c = gl_LocalInvocationID.x; c < n; c += WG) {
        uint at = kv_element(a.table_at, a.table_stride, seq, c0 + c, kv_head, a.kv_heads, HEAD_DIM);
        float s = 0.0;
        for (uint g = 0u; g < GROUPS; g++) s += dot(qs[g], k_load(at + g * GS));
        scores[c] = finish_score(s, slope, c0 + c);
    }
}

void main()
{
    uint head = gl_WorkGroupID.x, r = gl_WorkGroupID.y, me = gl_LocalInvocationID.x;
    uint seq = step_row(r, a.row_seq), lo = visible_from(r), hi = visible_to(r);
    uint kv_head = head / (a.heads / a.kv_heads);
    float slope = alibi_slope(head);
    for (uint g = me; g < GROUPS; g += WG) {
        uint at = r * a.q_stride + a.q_first + head * HEAD_DIM + g * GS;
        qs[g] = vec4(q[at], q[at + 1u], GS == 4u ? vec2(q[at + 2u], q[at + 3u]) : vec2(0.0));
    }
    barrier();
    vec4 acc[OWN];
    for (uint i = 0u; i < OWN; i++) acc[i] = vec4(0.0);
    float top = LOWEST, sum = 0.0;
    uint part = me / GROUPS;
    for (uint c0 = lo; c0 < hi; c0 += CELLS) {
        uint n = min(CELLS, hi - c0);
        score_block(c0, n, seq, kv_head, slope);
        float best = LOWEST;
        for (uint c = me; c < n; c += WG) best = max(best, scores[c]);
        best = max(top, reduce_max(best)); /* its barriers also publish the scores */
        float fade = exp(max(top - best, -100.0));
        top = best;
        sum *= fade;
        for (uint i = 0u; i < OWN; i++) acc[i] *= fade;
        for (uint c = me; c < n; c += WG) {
            float w = exp(max(scores[c] - top, -100.0));
            scores[c] = w;
            sum += w;
        }
        barrier();
        if (part < PARTS) {
            for (uint c = part; c < n; c += PARTS) {
                uint at = kv_element(a.table_at, a.table_stride, seq, c0 + c, kv_head, a.kv_heads, HEAD_DIM);
                float w = scores[c];
                for (uint i = 0u; i < OWN; i++) {
                    uint g = OWN == 1u ? me % GROUPS : me + i * WG;
                    if (g < GROUPS) acc[i] += w * v_load(at + g * GS);
                }
            }
        }
        barrier();
    }
    sum = reduce_sum(sum);
    float scale = sum > 0.0 ? 1.0 / sum : 0.0;
    if (PARTS > 1u) {
        parts[me] = part < PARTS ? acc[0] : vec4(0.0);
        barrier();
        if (me < GROUPS) {
            for (uint p = 1u; p < PARTS; p++) acc[0] += parts[me + p * GROUPS];
        }
    }
    for (uint i = 0u; i < OWN; i++) {
        uint g = me + i * WG;
        if (g >= GROUPS) continue;
        uint at = r * a.y_stride + head * HEAD_DIM + g * GS;
        for (uint j = 0u; j < GS; j++) y[at + j] = acc[i][j] * scale;
    }
}
