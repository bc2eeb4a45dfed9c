#version 450
// SPDX-License-Identifier: Apache-2.0
// y[r] = scale * table[token of row r]: four columns an invocation. A table in several pieces is gathered by several
// dispatches: each writes the rows whose token it holds; the last also clears those whose token is in no piece.
// ALIGNED: rows are whole chunks, so four weights are loaded at once.
#extension GL_GOOGLE_include_directive : require
#include "args.h"
#include "lib/weights.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint ALIGNED = 1;
layout(push_constant) uniform push { pum_args_embed a; };
WEIGHTS(0, table, table_v);
layout(set = 0, binding = 1) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 2) writeonly buffer y_words { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (4u * i >= a.cols || r >= a.rows) return;
    uint token = step_w[STEP_ROWS_AT + r * STEP_ROW_WORDS + ROW_TOKEN];
    bool here = token >= a.first && token - a.first < a.count;
    bool nowhere = a.last != 0u && token >= a.first + a.count;
    if (!here && !nowhere) return;
    uint row = here ? token - a.first : 0u, at = r * a.y_stride + 4u * i;
    vec4 v = vec4(0.0);
    if (here) {
        if (ALIGNED != 0u) {
            v = Q_LOAD4(table, table_v, row, a.cols, i);
        } else {
            for (uint j = 0u; j < 4u && 4u * i + j < a.cols; j++) v[j] = Q_ONE(table, row, a.cols, 4u * i + j);
        }
    }
    for (uint j = 0u; j < 4u && 4u * i + j < a.cols; j++) y[at + j] = a.scale * v[j];
}
