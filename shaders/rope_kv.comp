#version 450
// SPDX-License-Identifier: Apache-2.0
// q rotated into y, k rotated into the cache, v into the cache, in one dispatch: an invocation per pair of
// neighbouring dims of a q, k or v head. With the "halves" pairing a k head's two neighbours belong to two rotated
// pairs, so both are computed: two f16 share a word and only one invocation may write it.
// grid (ceil((heads + 2 kv_heads) * head_dim / 2 / WG), rows). q may be rotated in place: pairs of q are the
// rotation's own.
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
layout(set = 0, binding = 6) writeonly buffer kc_words { uint kc[]; };
layout(set = 0, binding = 7) writeonly buffer vc_words { uint vc[]; };
#include "lib/step.glsl"
#include "lib/kv.glsl"
#include "lib/rope.glsl"

// One dim of the rotated k head that begins at `from`
float rotated_k(uint from, uint d, uvec2 positions)
{
    if (d >= rope_width(PAIRING, a.rot_dim)) return k[from + d];
    uint p = rope_pair(PAIRING, d, a.rot_dim);
    uvec2 dims = rope_dims(PAIRING, p, a.rot_dim);
    vec2 r = rope_rotate_pair(vec2(k[from + dims.x], k[from + dims.y]), p, positions, a.rot_dim, a.scale);
    return d == dims.x ? r.x : r.y;
}

void rotate_q(uint head, uint p, uint r, uvec2 positions)
{
    uint base = head * a.head_dim, from = r * a.q_stride + a.q_first + base, to = r * a.y_stride + base;
    bool rotated = 2u * p < rope_width(PAIRING, a.rot_dim);
    uvec2 d = rotated ? rope_dims(PAIRING, p, a.rot_dim) : uvec2(2u * p, 2u * p + 1u);
    vec2 w = vec2(q[from + d.x], q[from + d.y]);
    if (rotated) w = rope_rotate_pair(w, p, positions, a.rot_dim, a.scale);
    y[to + d.x] = w.x;
    y[to + d.y] = w.y;
}

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, pairs = a.head_dim / 2u;
    uint head = i / pairs, p = i % pairs;
    if (head >= a.heads + 2u * a.kv_heads || r >= a.rows) return;
    uint seq = step_row(r, ROW_SEQ);
    if (seq == ROW_INACTIVE) return;
    uvec2 positions = uvec2(step_row(r, ROW_POS), step_row(r, ROW_POS2));
    if (head < a.heads) {
        rotate_q(head, p, r, positions);
        return;
    }
    head -= a.heads;
    bool is_v = head >= a.kv_heads;
    if (is_v) head -= a.kv_heads;
    uint d = 2u * p, cell = step_row(r, ROW_CELL);
    uint to = kv_element(a.table_at, a.table_stride, seq, cell, head, a.kv_heads, a.head_dim) + d;
    if (is_v) {
        uint from = r * a.v_stride + a.v_first + head * a.head_dim + d;
        vec2 w = vec2(v[from], v[from + 1u]);
        if (VT == KV_F16) vc[to >> 1] = packHalf2x16(w);
        else {
            vc[to] = floatBitsToUint(w.x);
            vc[to + 1u] = floatBitsToUint(w.y);
        }
        return;
    }
    uint from = r * a.k_stride + a.k_first + head * a.head_dim;
    vec2 w = vec2(rotated_k(from, d, positions), rotated_k(from, d + 1u, positions));
    if (KT == KV_F16) kc[to >> 1] = packHalf2x16(w);
    else {
        kc[to] = floatBitsToUint(w.x);
        kc[to + 1u] = floatBitsToUint(w.y);
    }
}
