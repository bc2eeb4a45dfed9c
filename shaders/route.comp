#version 450
// SPDX-License-Identifier: Apache-2.0
// The experts of a row: one workgroup a row. An expert's place is the number of experts before it in the order of
// logits (the lower index first where they are equal; NaN is the smallest), so every invocation finds the places of
// its experts by itself. USED: places (a constant, for shared memory).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint USED = 2;
layout(push_constant) uniform push { pum_args_route a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) writeonly buffer y_words { float y[]; };

shared uint ids[USED];
shared float tops[USED];

float logit(uint i)
{
    float v = x[i];
    return isnan(v) ? -3.4e38 : clamp(v, -3.4e38, 3.4e38);
}

void main()
{
    uint me = gl_LocalInvocationID.x, row = gl_WorkGroupID.x, at = row * a.x_stride;
    for (uint e = me; e < a.experts; e += WG) {
        float v = logit(at + e);
        uint place = 0u;
        for (uint i = 0u; i < a.experts; i++) {
            float w = logit(at + i);
            if (w > v || (w == v && i < e)) place++;
        }
        if (place < USED) {
            ids[place] = e;
            tops[place] = v;
        }
    }
    barrier();
    for (uint j = me; j < USED; j += WG) {
        float sum = 0.0, top = tops[0];
        if (a.renorm != 0u) {
            for (uint i = 0u; i < USED; i++) sum += exp(max(tops[i] - top, -100.0));
        } else {
            for (uint i = 0u; i < a.experts; i++) sum += exp(max(logit(at + i) - top, -100.0));
        }
        y[row * a.y_stride + j] = float(ids[j]);
        y[row * a.y_stride + a.used + j] = a.scale * exp(max(tops[j] - top, -100.0)) / sum;
    }
}
