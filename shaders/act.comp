#version 450
// SPDX-License-Identifier: Apache-2.0
// y = ACT(gate), times up if GATED. May run in place. grid (ceil(cols / WG), rows).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint ACT = 1;
layout(constant_id = 2) const uint GATED = 1;
layout(push_constant) uniform push { pum_args_act a; };
layout(set = 0, binding = 0) readonly buffer gate_words { float gate[]; };
layout(set = 0, binding = 1) readonly buffer up_words { float up[]; };
layout(set = 0, binding = 2) writeonly buffer y_words { float y[]; };
#include "lib/act.glsl"

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i >= a.cols || r >= a.rows) return;
    float v = activate(ACT, gate[r * a.gate_stride + a.gate_first + i]);
    if (GATED != 0u) v *= up[r * a.up_stride + a.up_first + i];
    y[r * a.y_stride + i] = v;
}
