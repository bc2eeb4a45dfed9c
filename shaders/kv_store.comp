#version 450
// SPDX-License-Identifier: Apache-2.0
// Stores k and v of every row in its cell of the paged cache: an invocation per two elements, since two f16 share a
// word. KT, VT: KV_F32 or KV_F16. Inactive rows store nothing. grid (ceil(kv_heads * head_dim / 2 / WG), rows).
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
layout(set = 0, binding = 3) writeonly buffer kc_words { uint kc[]; };
layout(set = 0, binding = 4) writeonly buffer vc_words { uint vc[]; };
#include "lib/step.glsl"
#include "lib/kv.glsl"

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, pairs = a.head_dim / 2u;
    if (i >= a.kv_heads * pairs || r >= a.rows) return;
    uint seq = step_row(r, ROW_SEQ);
    if (seq == ROW_INACTIVE) return;
    uint head = i / pairs, d = i % pairs * 2u, e = head * a.head_dim + d;
    uint to = kv_element(a.table_at, a.table_stride, seq, step_row(r, ROW_CELL), head, a.kv_heads, a.head_dim) + d;
    uint kf = r * a.k_stride + a.k_first + e, vf = r * a.v_stride + a.v_first + e;
    vec2 kv = vec2(k[kf], k[kf + 1u]), vv = vec2(v[vf], v[vf + 1u]);
    if (KT == KV_F16) kc[to >> 1] = packHalf2x16(kv);
    else {
        kc[to] = floatBitsToUint(kv.x);
        kc[to + 1u] = floatBitsToUint(kv.y);
    }
    if (VT == KV_F16) vc[to >> 1] = packHalf2x16(vv);
    else {
        vc[to] = floatBitsToUint(vv.x);
        vc[to + 1u] = floatBitsToUint(vv.y);
    }
}
