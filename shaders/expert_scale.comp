#version 450
// SPDX-License-Identifier: Apache-2.0
// y[pair] = x[pair] times the scale of the pair's expert. May run in place. grid (ceil(cols / WG), pairs)
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_expert_scale a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) readonly buffer route_words { float route[]; };
layout(set = 0, binding = 2) readonly buffer scale_words { float scale[]; };
layout(set = 0, binding = 3) writeonly buffer y_words { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, pair = gl_WorkGroupID.y;
    if (i >= a.cols || pair >= a.pairs) return;
    uint expert = uint(route[pair / a.used * a.route_stride + pair % a.used]);
    y[pair * a.y_stride + i] = scale[expert] * x[pair * a.x_stride + i];
}
