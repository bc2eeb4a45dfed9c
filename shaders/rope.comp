#version 450
// SPDX-License-Identifier: Apache-2.0
// Rotary embedding of all heads of a row: an invocation per pair of dims; dims beyond rot_dim are copied in pairs.
// May run in place. grid (ceil(heads * head_dim / 2 / WG), rows).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint PAIRING = 0;
layout(push_constant) uniform push { pum_args_rope a; };
layout(set = 0, binding = 0) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) readonly buffer freq_words { uvec2 freq[]; };
layout(set = 0, binding = 2) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 3) writeonly buffer y_words { float y[]; };
#include "lib/step.glsl"
#include "lib/rope.glsl"

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, pairs = a.head_dim / 2u;
    if (i >= a.heads * pairs || r >= a.rows) return;
    uint head = i / pairs, p = i % pairs, base = head * a.head_dim;
    bool rotated = 2u * p < rope_width(PAIRING, a.rot_dim);
    uvec2 d = base + (rotated ? rope_dims(PAIRING, p, a.rot_dim) : uvec2(2u * p, 2u * p + 1u));
    uint from = r * a.x_stride + a.x_first, to = r * a.y_stride + a.y_first;
    vec2 v = vec2(x[from + d.x], x[from + d.y]);
    uvec3 at = uvec3(step_row(r, ROW_POS), step_row(r, ROW_POS2), step_row(r, ROW_ROPE));
    if (rotated) v = rope_rotate_pair(v, p, at, a.rot_dim, a.scale);
    y[to + d.x] = v.x;
    y[to + d.y] = v.y;
}
