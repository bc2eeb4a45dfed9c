#version 450
// SPDX-License-Identifier: Apache-2.0
// One workgroup a row. KIND 0: x / sqrt(mean(x^2) + eps); KIND 1: (x - mean) / sqrt(variance + eps), in two passes,
// since E[x^2] - mean^2 cancels. Then * (w + w_add) if HAS_W and + b if HAS_B. Heads may have
// weights of their own: row r of x takes row r % w_rows of w. With PUM_DOT8 the result has 8 bits (lib/q8_a.glsl).
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint KIND = 0;
layout(constant_id = 2) const uint HAS_W = 1;
layout(constant_id = 3) const uint HAS_B = 0;
layout(push_constant) uniform push { pum_args_norm a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) readonly buffer w_words { float w[]; };
layout(set = 0, binding = 2) readonly buffer b_words { float b[]; };
#ifdef PUM_DOT8
layout(set = 0, binding = 0) readonly buffer x_quads { vec4 x4[]; };
layout(set = 0, binding = 1) readonly buffer w_quads { vec4 w4[]; };
layout(set = 0, binding = 2) readonly buffer b_quads { vec4 b4[]; };
#define Q8_A_BINDING 3
#include "lib/q8_a_put.glsl"
#else
layout(set = 0, binding = 3) writeonly buffer y_words { float y[]; };
#endif
#include "lib/reduce.glsl"

void main()
{
    uint row = gl_WorkGroupID.x, me = gl_LocalInvocationID.x;
    uint at = row * a.x_stride, w_at = row % a.w_rows * a.cols;
    float mean = 0.0, sum = 0.0;
    if (KIND == NORM_LAYER) {
        for (uint i = me; i < a.cols; i += WG) sum += x[at + i];
        mean = reduce_sum(sum) / float(a.cols);
        sum = 0.0;
    }
    for (uint i = me; i < a.cols; i += WG) {
        float d = x[at + i] - mean;
        sum += d * d;
    }
    float scale = 1.0 / sqrt(reduce_sum(sum) / float(a.cols) + a.eps);
#ifdef PUM_DOT8
    for (uint b = me; b < a.cols / 32u; b += WG) {
        vec4 v[8];
        [[unroll]] for (uint j = 0u; j < 8u; j++) {
            uint i = 8u * b + j;
            v[j] = (x4[(at >> 2) + i] - mean) * scale;
            if (HAS_W != 0u) v[j] *= w4[(w_at >> 2) + i] + a.w_add;
            if (HAS_B != 0u) v[j] += b4[i];
        }
        q8_a_put(row, a.cols, b, v);
    }
#else
    for (uint i = me; i < a.cols; i += WG) {
        float v = (x[at + i] - mean) * scale;
        if (HAS_W != 0u) v *= w[w_at + i] + a.w_add;
        if (HAS_B != 0u) v += b[i];
        y[row * a.y_stride + i] = v;
    }
#endif
}
