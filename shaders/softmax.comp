#version 450
// SPDX-License-Identifier: Apache-2.0
// y[r] = softmax(scale * x[r]): one workgroup a row. An input of minus infinity has probability 0; a row of nothing
// else gives zeros.
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_softmax a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) writeonly buffer y_words { float y[]; };
#include "lib/reduce.glsl"

const float LOWEST = -3.0e38;

float weight(uint at, float top)
{
    float v = a.scale * x[at];
    return v > LOWEST ? exp(max(v - top, -100.0)) : 0.0;
}

void main()
{
    uint row = gl_WorkGroupID.x, me = gl_LocalInvocationID.x, at = row * a.x_stride;
    float top = LOWEST, sum = 0.0;
    for (uint i = me; i < a.cols; i += WG) {
        float v = a.scale * x[at + i];
        if (v > top) top = v;
    }
    top = reduce_max(top);
    for (uint i = me; i < a.cols; i += WG) sum += weight(at + i, top);
    sum = reduce_sum(sum);
    float scale = sum > 0.0 ? 1.0 / sum : 0.0;
    for (uint i = me; i < a.cols; i += WG) y[row * a.y_stride + i] = weight(at + i, top) * scale;
}
