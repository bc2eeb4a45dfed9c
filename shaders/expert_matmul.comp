#version 450
// SPDX-License-Identifier: Apache-2.0
// y[pair] = W[expert of the pair] x for many batch rows: a workgroup takes a tile of pairs of one expert, an invocation
// 8 weight rows of it, straight from memory (see matmul_reg.comp). ALIGNED: weight rows and batch rows begin on 16
// bytes. grid (ceil(n / (8 * WG)), tiles)
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 8;
layout(constant_id = 1) const uint ALIGNED = 1;
layout(push_constant) uniform push { pum_args_expert a; };
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#include "lib/input.glsl"
layout(set = 0, binding = 2) readonly buffer group_words { uint group[]; };
layout(set = 0, binding = 3) writeonly buffer y_words { float y[]; };

#define TM EXPERT_TILE
#define TN 8u

void main()
{
    uint n0 = gl_GlobalInvocationID.x * TN, tile = a.pairs + 3u * gl_WorkGroupID.y;
    uint first = group[tile + 1u], count = group[tile + 2u], base = group[tile] * a.n + n0;
    if (n0 >= a.n || count == 0u || base + TN <= a.first || base >= a.first + a.count) return;
    float acc[TM * TN];
    uint row[TN], t[TM];
    bool here[TN];
    [[unroll]] for (uint i = 0u; i < TM * TN; i++) acc[i] = 0.0;
    [[unroll]] for (uint m = 0u; m < TM; m++) t[m] = group[first + min(m, count - 1u)] / a.x_div;
    [[unroll]] for (uint n = 0u; n < TN; n++) {
        here[n] = n0 + n < a.n && base + n - a.first < a.count; /* below `first` the difference is huge */
        row[n] = here[n] ? base + n - a.first : 0u;
    }
    for (uint c = 0u; c < whole_chunks(); c++) {
        q_raw raw[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) raw[n] = w_chunk(q_row_at(row[n], a.k), a.k, c);
#define STEP(i) { \
        uint at = q_at(c, i / Q_RUN_VECS) + i % Q_RUN_VECS; \
        vec4 wv[TN]; \
        [[unroll]] for (uint n = 0u; n < TN; n++) wv[n] = q_weights(raw[n], i); \
        [[unroll]] for (uint m = 0u; m < TM; m++) { \
            vec4 xv = x4[(t[m] * a.x_stride >> 2) + at]; \
            [[unroll]] for (uint n = 0u; n < TN; n++) acc[m * TN + n] += dot(xv, wv[n]); \
        } }
        Q_EACH(STEP)
    }
#if !Q_BLOCKS
    for (uint i = 0u; i < slow_end(); i++) {
        float wv[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) wv[n] = w_one(row[n], a.k, i);
        [[unroll]] for (uint m = 0u; m < TM; m++) {
            float xv = x[t[m] * a.x_stride + i];
            [[unroll]] for (uint n = 0u; n < TN; n++) acc[m * TN + n] += xv * wv[n];
        }
    }
#endif
    [[unroll]] for (uint m = 0u; m < TM; m++) {
        uint to = group[first + min(m, count - 1u)] * a.y_stride + n0;
        [[unroll]] for (uint n = 0u; n < TN; n++) {
            if (m < count && here[n]) y[to + n] = acc[m * TN + n];
        }
    }
}
