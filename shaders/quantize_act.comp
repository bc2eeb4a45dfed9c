#version 450
// SPDX-License-Identifier: Apache-2.0
// Rounds rows of activations to 8 bits (lib/q8_a.glsl), an invocation a block. grid (ceil(cols / 32 / WG), rows)
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_quantize_act a; };
layout(set = 0, binding = 0) readonly buffer x_quads { vec4 x[]; };
#define Q8_A_BINDING 1
#include "lib/q8_a_put.glsl"

void main()
{
    uint b = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y, at = (row * a.x_stride >> 2) + 8u * b;
    if (b >= a.cols / 32u) return;
    vec4 v[8];
    [[unroll]] for (uint i = 0u; i < 8u; i++) v[i] = x[at + i];
    q8_a_put(row, a.cols, b, v);
}
