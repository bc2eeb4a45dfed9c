#version 450
// SPDX-License-Identifier: Apache-2.0
// Stores k and v of every row in its cell of the paged cache: an invocation per ITEM dims (2, or 32 where K or V is
// quantized) of a k or v head. KT, VT: KV_* types. Inactive rows store nothing.
// grid (ceil(2 kv_heads * items of a head / WG), rows).
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint KT = 1;
layout(constant_id = 2) const uint VT = 1;
layout(push_constant) uniform push { pum_args_kv_store a; };
layout(set = 0, binding = 0) readonly buffer k_words { float k[]; };
layout(set = 0, binding = 1) readonly buffer v_words { float v[]; };
layout(set = 0, binding = 2) readonly buffer step_words { uint step_w[]; };
layout(set = 0, binding = 3) buffer kc_words { uint kc1[]; };
layout(set = 0, binding = 3) buffer kc_pairs { uvec2 kc2[]; };
layout(set = 0, binding = 4) buffer vc_words { uint vc1[]; };
layout(set = 0, binding = 4) buffer vc_pairs { uvec2 vc2[]; };
#include "lib/step.glsl"
#include "lib/kv.glsl"
#include "lib/kv_put.glsl"

uint from; /* where the head's vector begins in k or v */

float k_one(uint d) { return d < a.head_dim ? k[from + d] : 0.0; }
float v_one(uint d) { return d < a.head_dim ? v[from + d] : 0.0; }
vec2 k_two(uint d) { return vec2(k_one(d), k_one(d + 1u)); }
vec2 v_two(uint d) { return vec2(v_one(d), v_one(d + 1u)); }
KV_PUT(k_put, KT, k_two, kc2, kc1)
KV_PUT(v_put, VT, v_two, vc2, vc1)

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, items = items_of_head();
    uint head = i / items, d = i % items * ITEM;
    if (head >= 2u * a.kv_heads || r >= a.rows) return;
    uint seq = step_row(r, ROW_SEQ), cell = step_row(r, ROW_CELL);
    if (seq == ROW_INACTIVE) return;
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
