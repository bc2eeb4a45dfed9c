#version 450
// SPDX-License-Identifier: Apache-2.0
// y[r] = x[r]. grid (ceil(cols / WG), rows).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_copy a; };
layout(set = 0, binding = 0) readonly buffer x_words { uint x[]; };
layout(set = 0, binding = 1) writeonly buffer y_words { uint y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i < a.cols && r < a.rows) y[r * a.y_stride + i] = x[r * a.x_stride + i];
}
