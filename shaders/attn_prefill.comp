#version 450
// SPDX-License-Identifier: Apache-2.0
// Attention of tiles of BR consecutive rows of one sequence: one workgroup per (head, tile), so that a key or value
// is loaded once for BR rows. Otherwise as attn_decode. Each row has its own [lo, hi); cells outside all of them are
// never touched. grid (heads, ceil(rows / BR)).
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
layout(constant_id = 4) const uint BR = 8;
layout(push_constant) uniform push { pum_args_attn a; };
layout(set = 0, binding = 0) readonly buffer q_words { float q[]; };
layout(set = 0, binding = 1) readonly buffer kc_words { uint kc[]; };
layout(set = 0, binding = 2) readonly buffer vc_words { uint vc[]; };
layout(set = 0, binding = 3) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 4) writeonly buffer y_words { float y[]; };
#include "lib/step.glsl"
#include "lib/kv.glsl"
#include "lib/attn.glsl"

const uint CELLS = 32u;
const uint OWN = (GROUPS + WG - 1u) / WG;           // groups of dims per invocation
const uint FIT = WG >= GROUPS ? WG / GROUPS : 1u;
const uint PARTS = FIT < BR ? FIT : BR;             // invocations that share a group, by rows
const uint MINE = (BR + PARTS - 1u) / PARTS;        // rows per invocation
shared float scores[BR * CELLS];
shared vec4 qs[BR * GROUPS];
shared float tops[BR], sums[BR], fades[BR];
shared uint los[BR], his[BR];
shared uint tile_seq;

void load_rows(uint head, uint t0)
{
    for (uint i = gl_LocalInvocationID.x; i < BR * GROUPS; i += WG) {
        uint r = min(t0 + i / GROUPS, a.rows - 1u), g = i % GROUPS;
        uint at = r * a.q_stride + a.q_first + head * HEAD_DIM + g * GS;
        qs[i] = vec4(q[at], q[at + 1u], GS == 4u ? vec2(q[at + 2u], q[at + 3u]) : vec2(0.0));
    }
    if (gl_LocalInvocationID.x == 0u) { /* rows may be inactive: any active one knows the sequence */
        tile_seq = 0u;
        for (uint i = 0u; i < BR && t0 + i < a.rows; i++) {
            uint seq = step_row(t0 + i, a.row_seq);
            if (step_row(t0 + i, ROW_SEQ) != ROW_INACTIVE && seq != ROW_INACTIVE) tile_seq = seq;
        }
    }
    for (uint i = gl_LocalInvocationID.x; i < BR; i += WG) {
        bool here = t0 + i < a.rows;
        los[i] = here ? visible_from(t0 + i) : 0u;
        his[i] = here ? visible_to(t0 + i) : 0u;
        tops[i] = LOWEST;
        sums[i] = 0.0;
    }
}

void score_block(uint c0, uint n, uint seq, uint kv_head, float slope)
{
    for (uint c = gl_LocalInvocationID.x; c < n; c += WG) {
        uint cell = c0 + c, at = kv_element(a.table_at, a.table_stride, seq, cell, kv_head, a.kv_heads, HEAD_DIM);
        float s[BR];
        for (uint i = 0u; i < BR; i++) s[i] = 0.0;
        for (uint g = 0u; g < GROUPS; g++) {
            vec4 kv = k_load(at + g * GS);
            for (uint i = 0u; i < BR; i++) s[i] += dot(qs[i * GROUPS + g], kv);
        }
        for (uint i = 0u; i < BR; i++) {
            bool seen = cell >= los[i] && cell < his[i];
            scores[i * CELLS + c] = seen ? finish_score(s[i], slope, cell) : LOWEST;
        }
    }
}

// One invocation a row: new maximum, weights in place of scores, sum
void soften_block(uint n)
{
    for (uint i = gl_LocalInvocationID.x; i < BR; i += WG) {
        float top = tops[i], sum = 0.0;
        for (uint c = 0u; c < n; c++) top = max(top, scores[i * CELLS + c]);
        fades[i] = exp(max(tops[i] - top, -100.0));
        for (uint c = 0u; c < n; c++) {
            float s = scores[i * CELLS + c], w = s > LOWEST ? exp(max(s - top, -100.0)) : 0.0;
            scores[i * CELLS + c] = w;
            sum += w;
        }
        sums[i] = sums[i] * fades[i] + sum;
        tops[i] = top;
    }
}

void main()
{
    uint head = gl_WorkGroupID.x, t0 = gl_WorkGroupID.y * BR, me = gl_LocalInvocationID.x;
    uint kv_head = head / (a.heads / a.kv_heads);
    float slope = alibi_slope(head);
    load_rows(head, t0);
    barrier();
    uint seq = tile_seq;
    uint lo = 0xffffffffu, hi = 0u;
    for (uint i = 0u; i < BR; i++) {
        if (los[i] < his[i]) {
            lo = min(lo, los[i]);
            hi = max(hi, his[i]);
        }
    }
    vec4 acc[MINE * OWN];
    for (uint i = 0u; i < MINE * OWN; i++) acc[i] = vec4(0.0);
    uint part = OWN == 1u ? me / GROUPS : 0u;
    for (uint c0 = lo; c0 < hi; c0 += CELLS) {
        uint n = min(CELLS, hi - c0);
        score_block(c0, n, seq, kv_head, slope);
        barrier();
        soften_block(n);
        barrier();
        for (uint i = 0u; i < MINE; i++) {
            uint r = min(part + i * PARTS, BR - 1u);
            for (uint o = 0u; o < OWN; o++) acc[i * OWN + o] *= fades[r];
        }
        if (part < PARTS) {
            for (uint c = 0u; c < n; c++) {
                uint at = kv_element(a.table_at, a.table_stride, seq, c0 + c, kv_head, a.kv_heads, HEAD_DIM);
                for (uint o = 0u; o < OWN; o++) {
                    uint g = OWN == 1u ? me % GROUPS : me + o * WG;
                    if (g >= GROUPS) continue;
                    vec4 vv = v_load(at + g * GS);
                    for (uint i = 0u; i < MINE; i++) {
                        uint r = min(part + i * PARTS, BR - 1u);
                        float w = scores[r * CELLS + c];
                        if (w != 0.0) acc[i * OWN + o] += w * vv; /* a cell no row sees may hold anything */
                    }
                }
            }
        }
        barrier();
    }
    if (part >= PARTS) return;
    for (uint i = 0u; i < MINE; i++) {
        uint r = part + i * PARTS;
        if (r >= BR || t0 + r >= a.rows) continue;
        float scale = sums[r] > 0.0 ? 1.0 / sums[r] : 0.0;
        for (uint o = 0u; o < OWN; o++) {
            uint g = OWN == 1u ? me % GROUPS : me + o * WG;
            if (g >= GROUPS) continue;
            uint at = (t0 + r) * a.y_stride + head * HEAD_DIM + g * GS;
            for (uint j = 0u; j < GS; j++) y[at + j] = acc[i * OWN + o][j] * scale;
        }
    }
}
