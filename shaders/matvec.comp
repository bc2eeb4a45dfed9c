#version 450
// SPDX-License-Identifier: Apache-2.0
// y[t, y_first + n] = act(sum_k W[n,k] x[t,k] + bias) + residual for few batch rows t. Bound by the speed of memory:
// every weight is loaded once per COLS batch rows, x is re-used over ROWS weight rows.
// WG: workgroup; ROWS, GROUP: see lib/matvec.glsl; COLS: batch rows at once; EPI, ACT: epilogue (args.h);
// ALIGNED: rows are whole chunks.
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint ROWS = 2;
layout(constant_id = 2) const uint COLS = 1;
layout(constant_id = 3) const uint EPI = 0;
layout(constant_id = 4) const uint ACT = 0;
layout(constant_id = 5) const uint ALIGNED = 1;
layout(constant_id = 6) const uint GROUP = 32;
layout(push_constant) uniform push { pum_args_matmul a; };
#include "lib/weights.glsl"
WEIGHTS(0, wa, wa_v);
layout(set = 0, binding = 1) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) readonly buffer x_vec_words { vec4 x4[]; };
layout(set = 0, binding = 2) readonly buffer bias_words { float bias[]; };
layout(set = 0, binding = 3) readonly buffer res_words { float res[]; };
layout(set = 0, binding = 4) writeonly buffer y_words { float y[]; };
#include "lib/act.glsl"
#include "lib/matvec.glsl"

void load_x(uint t, uint c, out vec4 v[Q_CHUNK / 4])
{
    for (uint i = 0u; i < Q_CHUNK / 4; i++) {
        uint at = t * a.x_stride + c * Q_CHUNK + 4u * i;
        if (ALIGNED != 0u) {
            v[i] = x4[at >> 2];
        } else {
            uint left = c * Q_CHUNK + 4u * i;
            for (uint j = 0u; j < 4u; j++) v[i][j] = left + j < a.k ? x[at + j] : 0.0;
        }
    }
}

void load_w(uint n, uint c, out vec4 v[Q_CHUNK / 4])
{
    if (ALIGNED != 0u) {
        uint raw[Q_RAW];
        Q_FETCH(wa, wa_v, n, a.k, c, raw)
        q_decode(raw, v);
    } else {
        for (uint i = 0u; i < Q_CHUNK / 4; i++) {
            uint at = c * Q_CHUNK + 4u * i;
            for (uint j = 0u; j < 4u; j++) v[i][j] = at + j < a.k ? Q_ONE(wa, n, a.k, at + j) : 0.0;
        }
    }
}

void finish(uint t, uint n, float v)
{
    uint col = a.y_first + n;
    if ((EPI & EPI_BIAS) != 0u) v += bias[col];
    v = activate(ACT, v);
    if ((EPI & EPI_RESIDUAL) != 0u) v += res[t * a.res_stride + col];
    y[t * a.y_stride + col] = v;
}

void rows_by_cols(uint n0, uint t0)
{
    float acc[ROWS * COLS];
    for (uint i = 0u; i < ROWS * COLS; i++) acc[i] = 0.0;
    uint chunks = (a.k + Q_CHUNK - 1u) / Q_CHUNK;
    vec4 wv[Q_CHUNK / 4], xv[Q_CHUNK / 4];
    for (uint c = set_lane(); c < chunks; c += set_lanes()) {
        if (COLS == 1u) load_x(t0, c, xv);
        for (uint r = 0u; r < ROWS; r++) {
            load_w(min(n0 + r, a.n - 1u), c, wv); /* rows beyond the end repeat the last and are not written */
            for (uint t = 0u; t < COLS; t++) {
                if (COLS > 1u) load_x(min(t0 + t, a.rows - 1u), c, xv);
                float sum = 0.0;
                for (uint i = 0u; i < Q_CHUNK / 4; i++) sum += dot(wv[i], xv[i]);
                acc[r * COLS + t] += sum;
            }
        }
    }
    for (uint r = 0u; r < ROWS; r++) {
        for (uint t = 0u; t < COLS; t++) {
            float v = set_sum(acc[r * COLS + t]);
            if (set_lane() == 0u && n0 + r < a.n && t0 + t < a.rows) finish(t0 + t, n0 + r, v);
        }
    }
}

void main()
{
    uint sets = max(WG / GROUP, 1u);
    for (uint s = set_first(); s < sets; s += set_stride()) {
        uint n0 = (gl_WorkGroupID.x * sets + s) * ROWS;
#ifdef PUM_SUB
        if (n0 >= a.n) break;
#else
        if (GROUP == 1u && n0 >= a.n) break; /* with a reduction all invocations must stay together */
        n0 = min(n0, a.n);
#endif
        for (uint t0 = 0u; t0 < a.rows; t0 += COLS) rows_by_cols(n0, t0);
    }
}
