#version 450
// SPDX-License-Identifier: Apache-2.0
// y = act(W x + bias) + residual for many batch rows, without shared memory: each invocation computes a tile of 8
// batch rows x 8 weight rows in registers, straight from memory. For devices whose memory is a CPU's cache and whose
// barriers are dear. Neighbouring invocations take neighbouring weight rows.
// WG: workgroup; ACT: activation (args.h); ALIGNED: weight rows begin on 16 bytes and are whole chunks; batch rows
// begin on 16 bytes. grid (ceil(n / (8 * WG)), ceil(rows / 8))
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 8;
layout(constant_id = 1) const uint ACT = 0;
layout(constant_id = 2) const uint ALIGNED = 1;
layout(push_constant) uniform push { pum_args_matmul a; };
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#include "lib/input.glsl"
#include "lib/epilogue.glsl"

#define TM 8u
#define TN 8u

void main()
{
    uint n0 = gl_GlobalInvocationID.x * TN, t0 = gl_WorkGroupID.y * TM;
    if (n0 >= a.n) return;
    /* rows past the end repeat the last and are not stored */
    uint last_n = a.n - 1u, last_t = a.rows - 1u;
    float acc[TM * TN];
    [[unroll]] for (uint i = 0u; i < TM * TN; i++) acc[i] = 0.0;
    for (uint c = 0u; c < whole_chunks(); c++) {
        q_raw raw[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) raw[n] = w_chunk(q_row_at(min(n0 + n, last_n), a.k), a.k, c);
#define STEP(i) { \
        uint at = q_at(c, i / Q_RUN_VECS) + i % Q_RUN_VECS; \
        vec4 wv[TN]; \
        [[unroll]] for (uint n = 0u; n < TN; n++) wv[n] = q_weights(raw[n], i); \
        [[unroll]] for (uint m = 0u; m < TM; m++) { \
            vec4 xv = x_quad((min(t0 + m, last_t) * a.x_stride >> 2) + at); \
            [[unroll]] for (uint n = 0u; n < TN; n++) acc[m * TN + n] += dot(xv, wv[n]); \
        } }
        Q_EACH(STEP)
    }
#if !Q_BLOCKS
    for (uint i = 0u; i < slow_end(); i++) {
        float wv[TN];
        [[unroll]] for (uint n = 0u; n < TN; n++) wv[n] = w_one(min(n0 + n, last_n), a.k, i);
        [[unroll]] for (uint m = 0u; m < TM; m++) {
            float xv = x_one(min(t0 + m, last_t) * a.x_stride + i);
            [[unroll]] for (uint n = 0u; n < TN; n++) acc[m * TN + n] += xv * wv[n];
        }
    }
#endif
    /* a loop that stays a loop, and picks its row of sums: 64 copies of the epilogue would take long to compile */
    uint rows = min(TM, a.rows - t0);
    for (uint m = 0u; m < rows; m++) {
        [[unroll]] for (uint n = 0u; n < TN; n++) {
            float v = acc[n];
            [[unroll]] for (uint i = 1u; i < TM; i++) v = m == i ? acc[i * TN + n] : v;
            if (n0 + n < a.n) finish(t0 + m, n0 + n, v, 1.0);
        }
    }
}
