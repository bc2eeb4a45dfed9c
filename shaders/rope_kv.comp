#version 450
// SPDX-License-Identifier: Apache-2.0
// q rotated into y, k rotated into the cache, v into the cache, in one dispatch: an invocation per ITEM dims (2, or 32
// where K or V is quantized) of a q, k or v head. Of q it takes ITEM / 2 pairs of the rotation, so that q may be
// rotated in place; of k neighbouring dims, since what lies together in the cache is stored together: where pairs are
// no neighbours, each pair of a k head is computed twice. With PUM_KV_FLOAT the cache is F32 or F16: drivers read all
// of a module, whatever its constants leave out.
// grid (ceil((heads + 2 kv_heads) * items of a head / WG), rows).
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint PAIRING = 0;
layout(constant_id = 2) const uint KT = 1;
layout(constant_id = 3) const uint VT = 1;
layout(push_constant) uniform push { pum_args_rope_kv pushed; };
pum_args_rope_kv a; // a copy, see matmul_texel.comp
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
bool of_q;
uvec3 positions;

float load(uint d) { return of_q ? q[from + d] : k[from + d]; }

vec2 rotated(uvec2 dims, uint p)
{
    return rope_rotate_pair(vec2(load(dims.x), load(dims.y)), p, positions, a.rot_dim, a.scale);
}

float still(uint d) { return d < a.head_dim ? load(d) : 0.0; }

// Of dims d and d + 1, which the rotation pairs or does not. Code for one rotation is there once: before drivers know
// the constants they work through all of it.
vec2 turned(uint d)
{
    const bool pairs = PAIRING == ROPE_INTERLEAVED;
    vec2 v = vec2(0.0);
    for (uint j = 0u; j < (pairs ? 1u : 2u); j++) {
        vec2 w = vec2(still(d + j), pairs ? still(d + 1u) : 0.0);
        if (d + j < rope_width(PAIRING, a.rot_dim)) {
            uint p = rope_pair(PAIRING, d + j, a.rot_dim);
            uvec2 dims = rope_dims(PAIRING, p, a.rot_dim);
            w = rotated(dims, p);
            if (!pairs && d + j != dims.x) w.x = w.y;
        }
        if (pairs) v = w;
        else v[j] = w.x;
    }
    return v;
}

// Where an item is a pair, q and k have theirs from one place
const bool ONE_PAIR = ITEM == 2u && PAIRING == ROPE_INTERLEAVED;
vec2 only;

vec2 k_two(uint d)
{
    if (ONE_PAIR) return only;
    return turned(d);
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
        bool turns = 2u * p < rope_width(PAIRING, a.rot_dim);
        uvec2 d = turns ? rope_dims(PAIRING, p, a.rot_dim) : uvec2(2u * p, 2u * p + 1u);
        vec2 w = ONE_PAIR ? only : vec2(load(d.x), load(d.y));
        if (turns && !ONE_PAIR) w = rope_rotate_pair(w, p, positions, a.rot_dim, a.scale);
        y[to + d.x] = w.x;
        y[to + d.y] = w.y;
    }
}

void main()
{
    a = pushed;
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, items = items_of_head();
    uint head = i / items, d = i % items * ITEM;
    if (head >= a.heads + 2u * a.kv_heads || r >= a.rows) return;
    uint seq = step_row(r, ROW_SEQ), cell = step_row(r, ROW_CELL);
    if (seq == ROW_INACTIVE) return;
    positions = uvec3(step_row(r, ROW_POS), step_row(r, ROW_POS2), step_row(r, ROW_ROPE));
    of_q = head < a.heads;
    uint page = kv_page(a.table_at, a.table_stride, seq, cell / KV_PAGE) * a.kv_heads;
    if (head < a.heads + a.kv_heads) {
        from = of_q ? r * a.q_stride + a.q_first + head * a.head_dim
                    : r * a.k_stride + a.k_first + (head - a.heads) * a.head_dim;
        if (ONE_PAIR) only = turned(d);
        if (of_q) rotate_q(d / 2u, r * a.y_stride + head * a.head_dim);
        else k_put(page + head - a.heads, cell % KV_PAGE, d);
    } else {
        head -= a.heads + a.kv_heads;
        from = r * a.v_stride + a.v_first + head * a.head_dim;
        v_put(page + head, cell % KV_PAGE, d);
    }
}
