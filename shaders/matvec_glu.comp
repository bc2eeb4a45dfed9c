#version 450
// SPDX-License-Identifier: Apache-2.0
// y[t, y_first + n] = act(sum_k Wg[n,k] x[t,k]) * sum_k Wu[n,k] x[t,k]: gate, up and activation of a gated MLP in one
// pass over both matrices. Specialisation constants and grid as in matvec.comp.
#extension GL_EXT_control_flow_attributes : require
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
layout(constant_id = 3) const uint ACT = 0;
layout(constant_id = 4) const uint ALIGNED = 1;
layout(constant_id = 5) const uint GROUP = 32;
layout(push_constant) uniform push { pum_args_matmul a; };
#include "lib/weights.glsl"
WEIGHTS(0, gate)
WEIGHTS(1, up)
#define X_BINDING 2
#include "lib/input.glsl"
layout(set = 0, binding = 3) writeonly buffer y_words { float y[]; };
#include "lib/act.glsl"
#include "lib/matvec.glsl"

void rows_by_cols(uint n0, uint t0)
{
    float gate_sum[ROWS * COLS], up_sum[ROWS * COLS];
    [[unroll]] for (uint i = 0u; i < ROWS * COLS; i++) gate_sum[i] = up_sum[i] = 0.0;
    /* weight and batch rows past the end repeat the last and are not stored */
    uint lane = set_lane(), lanes = set_lanes(), last_n = a.n - 1u, last_t = a.rows - 1u;
    for (uint c = lane; c < whole_chunks(); c += lanes) {
        q_raw g[ROWS], u[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            g[r] = gate_chunk(min(n0 + r, last_n), a.k, c);
            u[r] = up_chunk(min(n0 + r, last_n), a.k, c);
        }
        [[unroll]] for (uint t = 0u; t < COLS; t++) {
            vec4 xv[Q_VECS];
            float x_sum[Q_RUNS];
            x_chunk(min(t0 + t, last_t), c, xv, x_sum);
            [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                gate_sum[r * COLS + t] += q_dot(g[r], xv, x_sum);
                up_sum[r * COLS + t] += q_dot(u[r], xv, x_sum);
            }
        }
    }
#if !Q_BLOCKS
    for (uint i = lane; i < slow_end(); i += lanes) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float gw = gate_one(min(n0 + r, last_n), a.k, i), uw = up_one(min(n0 + r, last_n), a.k, i);
            [[unroll]] for (uint t = 0u; t < COLS; t++) {
                float xv = x[min(t0 + t, last_t) * a.x_stride + i];
                gate_sum[r * COLS + t] += gw * xv;
                up_sum[r * COLS + t] += uw * xv;
            }
        }
    }
#endif
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        [[unroll]] for (uint t = 0u; t < COLS; t++) {
            float gs = set_sum(gate_sum[r * COLS + t]), us = set_sum(up_sum[r * COLS + t]);
            if (lane == 0u && n0 + r < a.n && t0 + t < a.rows) {
                y[(t0 + t) * a.y_stride + a.y_first + n0 + r] = activate(ACT, gs) * us;
            }
        }
    }
}

void main()
{
    uint sets = sets_per_workgroup();
    // uniform over the workgroup: with a reduction all invocations must stay together
    for (uint s = gl_WorkGroupID.x * sets; s * ROWS < a.n; s += gl_NumWorkGroups.x * sets) {
        uint n0 = (s + set_index()) * ROWS;
        if (SKIP_EMPTY && n0 >= a.n) continue;
        for (uint t0 = 0u; t0 < a.rows; t0 += COLS) rows_by_cols(n0, t0);
    }
}
