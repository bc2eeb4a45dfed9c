#version 450
// SPDX-License-Identifier: Apache-2.0
// Greedy choice: the largest logit of every slot, then the slot and its row advance. grid (slots).
#extension GL_GOOGLE_include_directive : require
#ifdef PUM_SUB
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(push_constant) uniform push { pum_args_sample a; };
layout(set = 0, binding = 0) readonly buffer logits_words { float logits[]; };
layout(set = 0, binding = 1) buffer step_words { uint step_w[]; };
#define STEP_RW
#include "lib/step.glsl"
#include "lib/argmax.glsl"

void main()
{
    uint slot = gl_WorkGroupID.x, token = argmax(slot * a.x_stride, a.cols);
    if (gl_LocalInvocationID.x == 0u) step_advance(a.slot_at, slot, token);
}
