#version 450
// SPDX-License-Identifier: Apache-2.0
// y[pair] = W[expert of the pair] x: for few batch rows, where hardly two pairs share an expert. As matvec.comp, less
// its epilogue. WG, ROWS, GROUP: see lib/matvec.glsl; ALIGNED: weight rows and batch rows begin on 16 bytes.
// grid (ceil(n / weight rows of a workgroup), pairs)
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
layout(constant_id = 2) const uint ALIGNED = 1;
layout(constant_id = 3) const uint GROUP = 32;
layout(push_constant) uniform push { pum_args_expert a; };
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#include "lib/input.glsl"
layout(set = 0, binding = 2) readonly buffer route_words { float route[]; };
layout(set = 0, binding = 3) writeonly buffer y_words { float y[]; };
#include "lib/matvec.glsl"

// weight rows n0 .. n0 + ROWS - 1 of the expert whose row 0 is row `base` of all
void some_rows(uint n0, uint base, uint pair)
{
    float acc[ROWS];
    uint row[ROWS], t = pair / a.x_div, lane = set_lane(), lanes = set_lanes();
    bool here[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint all = base + n0 + r; /* below `first` the difference is huge */
        acc[r] = 0.0;
        here[r] = n0 + r < a.n && all - a.first < a.count;
        row[r] = here[r] ? all - a.first : 0u;
    }
    for (uint c = lane; c < whole_chunks(); c += lanes) {
        vec4 xv[Q_VECS];
        float x_sum[Q_RUNS];
        x_chunk(x_row_at(t), c, xv, x_sum);
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            acc[r] += q_dot(w_chunk(q_row_at(row[r], a.k), a.k, c), xv, x_sum);
        }
    }
#if !Q_BLOCKS
    for (uint i = lane; i < slow_end(); i += lanes) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) acc[r] += w_one(row[r], a.k, i) * x[t * a.x_stride + i];
    }
#endif
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float v = set_sum(acc[r]);
        if (lane == 0u && here[r]) y[pair * a.y_stride + n0 + r] = v;
    }
}

void main()
{
    uint sets = sets_per_workgroup(), pair = gl_WorkGroupID.y;
    uint base = uint(route[pair / a.used * a.route_stride + pair % a.used]) * a.n;
    if (base + a.n <= a.first || base >= a.first + a.count) return; /* uniform: nothing of it is bound here */
    for (uint s = gl_WorkGroupID.x * sets; s * ROWS < a.n; s += gl_NumWorkGroups.x * sets) {
        uint n0 = (s + set_index()) * ROWS;
        if (SKIP_EMPTY && n0 >= a.n) continue;
        some_rows(n0, base, pair);
    }
}
