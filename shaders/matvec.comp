#version 450
// SPDX-License-Identifier: Apache-2.0
// y[t, y_first + n] = act(sum_k W[n,k] x[t,k] + bias) + residual for few batch rows t. Bound by the speed of memory:
// every weight is loaded once per COLS batch rows, x is re-used over ROWS weight rows.
// With GLU, W holds the gate's rows and then as many of up, and y = act(gate) * up; ROWS is even then.
// WG: workgroup; ROWS (1..8), GROUP: see lib/matvec.glsl; COLS: batch rows at once; ACT: activation (args.h);
// ALIGNED: weight rows and batch rows begin on 16 bytes. With PUM_DOT8, x has 8 bits (lib/q8_a.glsl).
// grid (ceil(n / weight rows of a workgroup)), or any other.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#ifdef PUM_DOT8
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint ROWS = 2;
layout(constant_id = 2) const uint COLS = 1;
layout(constant_id = 3) const uint ACT = 0;
layout(constant_id = 4) const uint ALIGNED = 1;
layout(constant_id = 5) const uint GROUP = 32;
layout(constant_id = 6) const uint GLU = 0;
layout(push_constant) uniform push { pum_args_matmul a; };
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#ifdef PUM_DOT8
#include "lib/input8.glsl"
#else
#define X_FIRST (a.x_sums != 0u ? a.k : 0u)
#define NORM_BINDING 5
#include "lib/input.glsl"
#endif
#include "lib/epilogue.glsl"
#include "lib/matvec.glsl"
#ifndef PUM_DOT8
#include "lib/norm_ends.glsl"
#endif

const uint OUT = GLU != 0u ? ROWS / 2u : ROWS; // columns of y that a set computes

uint weight_row(uint n0, uint r)
{
    if (GLU == 0u) return min(n0 + r, a.n - 1u);
    uint n = min(n0 + r % OUT, a.n - 1u);
    return r < OUT ? n : a.n + n;
}

void rows_by_cols(uint n0, uint t0)
{
    float acc[ROWS * COLS];
    [[unroll]] for (uint i = 0u; i < ROWS * COLS; i++) acc[i] = 0.0;
    /* weight and batch rows past the end repeat the last and are not stored */
    uint lane = set_lane(), lanes = set_lanes(), last_t = a.rows - 1u;
    for (uint c = lane; c < whole_chunks(); c += lanes) {
        q_raw raw[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) raw[r] = w_chunk(q_row_at(weight_row(n0, r), a.k), a.k, c);
        [[unroll]] for (uint t = 0u; t < COLS; t++) {
#ifdef PUM_DOT8
            x8_chunk x = x8_load(min(t0 + t, last_t), c);
            [[unroll]] for (uint r = 0u; r < ROWS; r++) acc[r * COLS + t] += q_dot8(raw[r], x);
#else
            vec4 xv[Q_VECS];
            float x_sum[Q_RUNS];
            x_chunk(x_row_at(min(t0 + t, last_t)), c, xv, x_sum);
            [[unroll]] for (uint r = 0u; r < ROWS; r++) acc[r * COLS + t] += q_dot(raw[r], xv, x_sum);
#endif
        }
    }
#if !Q_BLOCKS
    for (uint i = lane; i < slow_end(); i += lanes) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float weight = w_one(weight_row(n0, r), a.k, i);
            [[unroll]] for (uint t = 0u; t < COLS; t++) {
                acc[r * COLS + t] += weight * x_one(min(t0 + t, last_t) * a.x_stride + X_FIRST + i);
            }
        }
    }
#endif
    [[unroll]] for (uint i = 0u; i < ROWS * COLS; i++) acc[i] = set_sum(acc[i]);
#ifndef PUM_DOT8
    if (a.x_sums != 0u) {
        [[unroll]] for (uint t = 0u; t < COLS; t++) {
            float scale = x_scale(min(t0 + t, last_t), lane, lanes);
            [[unroll]] for (uint r = 0u; r < ROWS; r++) acc[r * COLS + t] *= scale;
        }
    }
#endif
    if (lane != 0u) return;
    [[unroll]] for (uint t = 0u; t < COLS; t++) {
        if (t0 + t >= a.rows) continue;
        float squares = 0.0;
        [[unroll]] for (uint r = 0u; r < OUT; r++) {
            if (n0 + r >= a.n) continue;
            float up = GLU != 0u ? a.scale * acc[(r + OUT) * COLS + t] : 1.0;
            float stored = finish(t0 + t, n0 + r, acc[r * COLS + t], up);
#ifndef PUM_DOT8
            squares += norm_begin(t0 + t, n0 + r, stored);
#endif
        }
#ifndef PUM_DOT8
        if (n0 < a.n) norm_part(t0 + t, n0 / OUT, squares);
#endif
    }
}

void main()
{
    uint sets = sets_per_workgroup();
    // uniform over the workgroup: with a reduction all invocations must stay together
    for (uint s = gl_WorkGroupID.x * sets; s * OUT < a.n; s += gl_NumWorkGroups.x * sets) {
        uint n0 = (s + set_index()) * OUT;
        if (SKIP_EMPTY && n0 >= a.n) continue;
        for (uint t0 = 0u; t0 < a.rows; t0 += COLS) rows_by_cols(n0, t0);
    }
}
