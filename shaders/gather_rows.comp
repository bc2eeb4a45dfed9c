#version 450
// SPDX-License-Identifier: Apache-2.0
// y[i] = x[row SLOT_SRC_ROW of slot i]: the hidden states that go to the head. grid (ceil(cols / WG), slots).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_copy a; };
layout(set = 0, binding = 0) readonly buffer x_words { uint x[]; };
layout(set = 0, binding = 1) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 2) writeonly buffer y_words { uint y[]; };
#include "lib/step.glsl"

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i < a.cols && r < a.rows) y[r * a.y_stride + i] = x[step_slot(a.slot_at, r, SLOT_SRC_ROW) * a.x_stride + i];
}
