#version 450
// SPDX-License-Identifier: Apache-2.0
// y = scale * a + b; b_stride 0 repeats one row. May run in place. grid (ceil(cols / WG), rows).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_add p; };
layout(set = 0, binding = 0) readonly buffer a_words { float a[]; };
layout(set = 0, binding = 1) readonly buffer b_words { float b[]; };
layout(set = 0, binding = 2) writeonly buffer y_words { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i >= p.cols || r >= p.rows) return;
    y[r * p.y_stride + i] = p.scale * a[r * p.a_stride + i] + b[r * p.b_stride + i];
}
