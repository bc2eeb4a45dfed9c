#version 450
// SPDX-License-Identifier: Apache-2.0
// y = act(W x + bias) + residual for many batch rows, the GPU way: a workgroup computes BM batch rows x BN weight
// rows, walking k in steps of BK through shared memory; each invocation keeps TM x TN sums in registers.
// WG = (BM / TM) * (BN / TN). Weights are turned to f32 when they enter shared memory.
// BK: a multiple of 4; ACT: activation (args.h); ALIGNED: weight rows begin on 16 bytes and are whole chunks; batch
// rows begin on 16 bytes. grid (ceil(n / BN), ceil(rows / BM))
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 128;
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 3) const uint BK = 16;
layout(constant_id = 4) const uint TM = 8;
layout(constant_id = 5) const uint TN = 4;
layout(constant_id = 6) const uint ACT = 0;
layout(constant_id = 7) const uint ALIGNED = 1;
layout(push_constant) uniform push { pum_args_matmul a; };
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#include "lib/input.glsl"
#include "lib/epilogue.glsl"

const bool WHOLE = Q_BLOCKS != 0 || ALIGNED != 0u;

// k runs slowest, so that the inner loop reads neighbours; one word of padding keeps banks apart
shared float xs[BK * (BM + 1u)];
shared float ws[BK * (BN + 1u)];

vec4 x_at(uint t, uint k)
{
    if (t >= a.rows || k >= a.k) return vec4(0.0);
    uint at = t * a.x_stride + k;
    if (WHOLE) return x_quad(at >> 2);
    vec4 v = vec4(x_one(at), 0.0, 0.0, 0.0);
    if (k + 1u < a.k) v.y = x_one(at + 1u);
    if (k + 2u < a.k) v.z = x_one(at + 2u);
    if (k + 3u < a.k) v.w = x_one(at + 3u);
    return v;
}

vec4 w_at(uint n, uint k)
{
    if (n >= a.n || k >= a.k) return vec4(0.0);
    if (WHOLE) return w_four(n, a.k, k >> 2);
#if Q_BLOCKS
    return vec4(0.0);
#else
    vec4 v = vec4(w_one(n, a.k, k), 0.0, 0.0, 0.0);
    if (k + 1u < a.k) v.y = w_one(n, a.k, k + 1u);
    if (k + 2u < a.k) v.z = w_one(n, a.k, k + 2u);
    if (k + 3u < a.k) v.w = w_one(n, a.k, k + 3u);
    return v;
#endif
}

void main()
{
    uint me = gl_LocalInvocationID.x, n0 = gl_WorkGroupID.x * BN, t0 = gl_WorkGroupID.y * BM;
    uint my_n = me % (BN / TN), my_m = me / (BN / TN);
    float acc[TM * TN];
    [[unroll]] for (uint i = 0u; i < TM * TN; i++) acc[i] = 0.0;
    for (uint k0 = 0u; k0 < a.k; k0 += BK) {
        for (uint i = me; i < BM * (BK / 4u); i += WG) {
            uint m = i / (BK / 4u), k = i % (BK / 4u) * 4u;
            vec4 v = x_at(t0 + m, k0 + k);
            for (uint j = 0u; j < 4u; j++) xs[(k + j) * (BM + 1u) + m] = v[j];
        }
        for (uint i = me; i < BN * (BK / 4u); i += WG) {
            uint n = i / (BK / 4u), k = i % (BK / 4u) * 4u;
            vec4 v = w_at(n0 + n, k0 + k);
            for (uint j = 0u; j < 4u; j++) ws[(k + j) * (BN + 1u) + n] = v[j];
        }
        barrier();
        for (uint k = 0u; k < BK; k++) {
            float xv[TM], wv[TN];
            [[unroll]] for (uint m = 0u; m < TM; m++) xv[m] = xs[k * (BM + 1u) + m * (BM / TM) + my_m];
            [[unroll]] for (uint n = 0u; n < TN; n++) wv[n] = ws[k * (BN + 1u) + n * (BN / TN) + my_n];
            [[unroll]] for (uint m = 0u; m < TM; m++) {
                [[unroll]] for (uint n = 0u; n < TN; n++) acc[m * TN + n] += xv[m] * wv[n];
            }
        }
        barrier();
    }
    [[unroll]] for (uint m = 0u; m < TM; m++) {
        [[unroll]] for (uint n = 0u; n < TN; n++) {
            uint t = t0 + m * (BM / TM) + my_m, row = n0 + n * (BN / TN) + my_n;
            if (t < a.rows && row < a.n) finish(t, row, acc[m * TN + n], 1.0);
        }
    }
}
