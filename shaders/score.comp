#version 450
// SPDX-License-Identifier: Apache-2.0
// How likely is the token that comes next? log softmax(logits[row])[ROW_TARGET], and the likeliest token beside it, so
// that rows of a vocabulary's size need not be read back. One workgroup a row. grid (rows).
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_score a; };
layout(set = 0, binding = 0) readonly buffer logits_words { float logits[]; };
layout(set = 0, binding = 1) buffer step_words { uint step_w[]; };
#include "lib/step.glsl"
#include "lib/reduce.glsl"
#include "lib/argmax.glsl"

void main()
{
    uint row = gl_WorkGroupID.x, me = gl_LocalInvocationID.x, at = row * a.x_stride;
    uint target = step_row(row, ROW_TARGET);
    if (target >= a.cols) return;
    uint best = argmax(at, a.cols);
    float top = logit(at + best), sum = 0.0, broken = 0.0;
    for (uint i = me; i < a.cols; i += WG) {
        float below = logit(at + i) - top;
        sum += below < -87.0 ? 0.0 : exp(below);
        if (isnan(logits[at + i])) broken = 1.0;
    }
    sum = reduce_sum(sum);
    broken = reduce_max(broken);
    if (me == 0u) {
        uint to = STEP_ROWS_AT + row * STEP_ROW_WORDS;
        float score = (logit(at + target) - top) - log(sum);
        step_w[to + ROW_LOGPROB] = broken > 0.0 ? 0x7fc00000u : floatBitsToUint(score);
        step_w[to + ROW_TOP] = floatBitsToUint(float(best));
    }
}
