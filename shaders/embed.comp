#version 450
// SPDX-License-Identifier: Apache-2.0
// y[r] = scale * table[token or position of row r]: four columns an invocation. A table in several pieces is gathered
// by several dispatches: each writes the rows whose token it holds; the last also clears those whose token is in no
// piece.
// WG: workgroup; ALIGNED: table rows begin on 16 bytes and are whole chunks, so four weights are loaded at once.
// grid (ceil(cols / (4 * WG)), rows)
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint ALIGNED = 1;
layout(push_constant) uniform push { pum_args_embed a; };
#include "lib/weights.glsl"
WEIGHTS(0, table)
layout(set = 0, binding = 1) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 2) writeonly buffer y_words { float y[]; };
layout(set = 0, binding = 3) readonly buffer norm_words { float norm_w[]; };

void main()
{
    uint col = 4u * gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (col >= a.cols || r >= a.rows) return;
    uint token = step_w[STEP_ROWS_AT + r * STEP_ROW_WORDS + a.field];
    bool here = token >= a.first && token - a.first < a.count;
    bool nowhere = a.last != 0u && token >= a.first + a.count;
    if (!here && !nowhere) return;
    uint row = token - a.first, at = r * a.y_stride + col;
    vec4 v = vec4(0.0);
    if (here) {
#if Q_BLOCKS
        v = table_four(row, a.cols, col >> 2);
#else
        if (ALIGNED != 0u) {
            v = table_four(row, a.cols, col >> 2);
        } else {
            v.x = table_one(row, a.cols, col);
            if (col + 1u < a.cols) v.y = table_one(row, a.cols, col + 1u);
            if (col + 2u < a.cols) v.z = table_one(row, a.cols, col + 2u);
            if (col + 3u < a.cols) v.w = table_one(row, a.cols, col + 3u);
        }
#endif
    }
    v *= a.scale;
    // a loop that stays a loop: fewer stores for drivers to compile
    uint columns = min(4u, a.cols - col);
    [[dont_unroll]] for (uint i = 0u; i < columns; i++) {
        y[at + i] = v[i];
        if (a.norm_at != 0u) y[at + a.norm_at + i] = v[i] * norm_w[col + i]; // see pum_args_matmul
    }
    if (a.norm_at != 0u) y[r * a.y_stride + 2u * a.norm_at + col / NORM_EMBED_COLS] = dot(v, v);
}
