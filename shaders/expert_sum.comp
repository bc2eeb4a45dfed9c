#version 450
// SPDX-License-Identifier: Apache-2.0
// y[r] = the experts' results of a row times their weights, and the shared expert's times the sigmoid of its gate.
// grid (ceil(cols / WG), rows)
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint SHARED = 0;
layout(push_constant) uniform push { pum_args_expert_sum a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) readonly buffer route_words { float route[]; };
layout(set = 0, binding = 2) readonly buffer shared_words { float shared_x[]; };
layout(set = 0, binding = 3) readonly buffer gate_words { float gate[]; };
layout(set = 0, binding = 4) writeonly buffer y_words { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i >= a.cols || r >= a.rows) return;
    float sum = 0.0;
    for (uint j = 0u; j < a.used; j++) {
        sum += route[r * a.route_stride + a.used + j] * x[(r * a.used + j) * a.x_stride + i];
    }
    if (SHARED != 0u) sum += shared_x[r * a.shared_stride + i] / (1.0 + exp(-max(gate[r], -87.0)));
    y[r * a.y_stride + i] = sum;
}
