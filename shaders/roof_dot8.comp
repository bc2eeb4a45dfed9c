#version 450
// SPDX-License-Identifier: Apache-2.0
// Multiplies packed bytes as fast as the device can, for `pumice bench --roof`: every invocation runs 12 independent
// recurrences v = v + dot(bytes of v, four constant bytes), rounds * 8 times, and stores their sum modulo 2^32.
// grid (workgroups)
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_roof a; };
layout(set = 0, binding = 0) writeonly buffer y_words { uint y[]; };
#include "lib/packed_dot.glsl"

uint step_of(uint v) { return v + uint(packed_dot(v, ROOF_BYTES, 0)); }
uvec4 steps(uvec4 v) { return uvec4(step_of(v.x), step_of(v.y), step_of(v.z), step_of(v.w)); }
#define ONCE u = steps(u); v = steps(v); w = steps(w);

void main()
{
    uvec4 u = uvec4(0u, 1u, 2u, 3u) + (gl_LocalInvocationID.x & 31u), v = u + 4u, w = v + 4u;
    for (uint i = 0u; i < a.rounds; i++) {
        ONCE ONCE ONCE ONCE ONCE ONCE ONCE ONCE
    }
    uvec4 sum = u + v + w;
    y[gl_GlobalInvocationID.x] = (sum.x + sum.y) + (sum.z + sum.w);
}
