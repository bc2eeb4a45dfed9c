#version 450
// SPDX-License-Identifier: Apache-2.0
// Puts together what the splits of attention found: their vectors, weighted by their sums of exponentials.
// grid (ceil(heads * head_dim / WG), rows).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_attn_merge a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) writeonly buffer y_words { float y[]; };

const float LOWEST = -3.0e38;

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, cols = a.heads * a.head_dim;
    if (i >= cols || r >= a.rows) return;
    uint logs = a.splits * a.rows * cols + r * a.heads + i / a.head_dim;
    float top = LOWEST, sum = 0.0, value = 0.0;
    for (uint s = 0u; s < a.splits; s++) top = max(top, x[logs + s * a.rows * a.heads]);
    for (uint s = 0u; s < a.splits; s++) {
        float part = x[logs + s * a.rows * a.heads];
        if (part <= LOWEST) continue;
        float w = exp(max(part - top, -100.0));
        sum += w;
        value += w * x[(s * a.rows + r) * cols + i];
    }
    y[r * a.y_stride + i] = sum > 0.0 ? value / sum : 0.0;
}
