#version 450
// SPDX-License-Identifier: Apache-2.0
// y = scale * x, then by KIND: nothing more, limit * tanh(v / limit) (Gemma 2's cap of logits), or cut to
// [-limit, limit]. May run in place. grid (ceil(cols / WG), rows).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint KIND = 0;
layout(push_constant) uniform push { pum_args_limit a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) writeonly buffer y_words { float y[]; };
#include "lib/act.glsl"

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i >= a.cols || r >= a.rows) return;
    float v = a.scale * x[r * a.x_stride + i];
    if (KIND == LIMIT_CAP) v = a.limit * tanh_f(v / a.limit);
    if (KIND == LIMIT_CLAMP) v = clamp(v, -a.limit, a.limit);
    y[r * a.y_stride + i] = v;
}
