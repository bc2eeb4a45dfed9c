#version 450
// SPDX-License-Identifier: Apache-2.0
// q rotated into y, k rotated into the cache, v into the cache, in one dispatch: an invocation per ITEM dims (2, or 32
// where K or V is quantized) of a q, k or v head. Of q it takes ITEM / 2 pairs of the rotation, so that q may be
// rotated in place; of k neighbouring dims, since what lies together in the cache is stored together: where pairs are
// no neighbours, each pair of a k head is computed twice.
// grid (ceil((heads + 2 kv_heads) * items of a head / WG), rows).
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint PAIRING = 0;
layout(constant_id = 2) const uint KT = 1;
layout(constant_id = 3) const uint VT = 1;
layout(push_constant) uniform push { pum_args_rope_kv a; };
layout(set = 0, binding = 0) readonly buffer q_words { float q[]; };
layout(set = 0, binding = 1) readonly buffer k_words { float k[]; };
layout(set = 0, binding = 2) readonly buffer v_words { float v[]; };
layout(set = 0, binding = 3) readonly buffer freq_words { uvec2 freq[]; };
layout(set = 0, binding = 4) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 5) writeonly buffer y_words { float y[]; };
layout(set = 0, binding = 6) buffer kc_words { uint kc1[]; };
layout(set = 0, binding = 6) buffer kc_pairs { uvec2 kc2[]; };
layout(set = 0, binding = 7) buffer vc_words { uint vc1[]; };
layout(set = 0, binding = 7) buffer vc_pairs { uvec2 vc2[]; };
#include "lib/step.glsl"
#include "lib/kv.glsl"
#include "lib/kv_put.glsl"
#include "lib/rope.glsl"

uint from; /* where the head's vector begins in q, k or v */
uvec3 positions;

vec2 rotated(uvec2 dims, uint p)
{
    return rope_rotate_pair(vec2(k[from + dims.x], k[from + dims.y]), p, positions, a.rot_dim, a.scale);
}

float k_still(uint d) { return d < a.head_dim ? k[from + d] : 0.0; }

float k_one(uint d)
{
    if (d >= rope_width(PAIRING, a.rot_dim)) return k_still(d);
    uint p = rope_pair(PAIRING, d, a.rot_dim);
    uvec2 dims = rope_dims(PAIRING, p, a.rot_dim);
    vec2 r = rotated(dims, p);
    return d == dims.x ? r.x : r.y;
}

vec2 k_two(uint d)
{
    if (PAIRING != ROPE_INTERLEAVED) return vec2(k_one(d), k_one(d + 1u));
    return d < a.rot_dim ? rotated(uvec2(d, d + 1u), d / 2u) : vec2(k_still(d), k_still(d + 1u));
}

float v_one(uint d) { return d < a.head_dim ? v[from + d] : 0.0; }
vec2 v_two(uint d) { return vec2(v_one(d), v_one(d + 1u)); }
KV_PUT(k_put, KT, k_two, kc2, kc1)
KV_PUT(v_put, VT, v_two, vc2, vc1)

void rotate_q(uint first, uint to)
{
    for (uint j = 0u; j < ITEM / 2u; j++) {
        uint p = first + j;
        if (p >= a.head_dim / 2u) return;
        bool rotated = 2u * p < rope_width(PAIRING, a.rot_dim);
        uvec2 d = rotated ? rope_dims(PAIRING, p, a.rot_dim) : uvec2(2u * p, 2u * p + 1u);
        vec2 w = vec2(q[from + d.x], q[from + d.y]);
        if (rotated) w = rope_rotate_pair(w, p, positions, a.rot_dim, a.scale);
        y[to + d.x] = w.x;
        y[to + d.y] = w.y;
    }
}

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, items = items_of_head();
    uint head = i / items, d = i % items * ITEM;
    if (head >= a.heads + 2u * a.kv_heads || r >= a.rows) return;
    uint seq = step_row(r, ROW_SEQ), cell = step_row(r, ROW_CELL);
    if (seq == ROW_INACTIVE) return;
    positions = uvec3(step_row(r, ROW_POS), step_row(r, ROW_POS2), step_row(r, ROW_ROPE));
    if (head < a.heads) {
        from = r * a.q_stride + a.q_first + head * a.head_dim;
        rotate_q(d / 2u, r * a.y_stride + head * a.head_dim);
        return;
    }
    head -= a.heads;
    uint page = kv_page(a.table_at, a.table_stride, seq, cell / KV_PAGE) * a.kv_heads;
    if (head < a.kv_heads) {
        from = r * a.k_stride + a.k_first + head * a.head_dim;
        k_put(page + head, cell % KV_PAGE, d);
    } else {
        head -= a.kv_heads;
        from = r * a.v_stride + a.v_first + head * a.head_dim;
        v_put(page + head, cell % KV_PAGE, d);
    }
}
