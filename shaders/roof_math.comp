#version 450
// SPDX-License-Identifier: Apache-2.0
// Multiplies and adds as fast as the device can, for `pumice bench --roof`: every invocation runs 12 independent
// recurrences v = v * scale + shift, rounds * 8 times, and stores their sum. |scale| < 1 keeps them in range.
// grid (workgroups)
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_F16
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define VEC f16vec4
#define NUM float16_t
#else
#define VEC vec4
#define NUM float
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_roof a; };
layout(set = 0, binding = 0) writeonly buffer y_words { float y[]; };

#define ONCE u = u * scale + shift; v = v * scale + shift; w = w * scale + shift;

void main()
{
    NUM scale = NUM(a.scale), shift = NUM(a.shift);
    float first = float(gl_LocalInvocationID.x & 31u);
    VEC u = VEC(vec4(0.0, 1.0, 2.0, 3.0) + first), v = u + VEC(4.0), w = v + VEC(4.0);
    for (uint i = 0u; i < a.rounds; i++) {
        ONCE ONCE ONCE ONCE ONCE ONCE ONCE ONCE
    }
    vec4 sum = vec4(u) + vec4(v) + vec4(w);
    y[gl_GlobalInvocationID.x] = (sum.x + sum.y) + (sum.z + sum.w);
}
