#version 450
// SPDX-License-Identifier: Apache-2.0
// y = act(W x + bias) + residual for many batch rows, without shared memory: each invocation computes a tile of TM
// batch rows x TN weight rows in registers, straight from memory. For devices whose "memory" is a CPU's cache and
// whose barriers are dear. Neighbouring invocations take neighbouring weight rows.
// grid (ceil(n / (TN * WG)), ceil(rows / TM)). ALIGNED: k is a multiple of 4 (whole chunks).
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 8;
layout(constant_id = 1) const uint EPI = 0;
layout(constant_id = 2) const uint ACT = 0;
layout(constant_id = 3) const uint ALIGNED = 1;
layout(push_constant) uniform push { pum_args_matmul a; };
#include "lib/weights.glsl"
WEIGHTS(0, wa, wa_v);
layout(set = 0, binding = 1) readonly buffer x_words { float x[]; };
layout(set = 0, binding = 1) readonly buffer x_vec_words { vec4 x4[]; };
layout(set = 0, binding = 2) readonly buffer bias_words { float bias[]; };
layout(set = 0, binding = 3) readonly buffer res_words { float res[]; };
layout(set = 0, binding = 4) writeonly buffer y_words { float y[]; };
#include "lib/act.glsl"

#define TM 8
#define TN 8

void main()
{
    uint n0 = gl_GlobalInvocationID.x * TN, t0 = gl_WorkGroupID.y * TM;
    if (n0 >= a.n) return;
    float acc[TM][TN];
    for (uint m = 0u; m < TM; m++) {
        for (uint n = 0u; n < TN; n++) acc[m][n] = 0.0;
    }
    vec4 wv[TN];
    if (ALIGNED != 0u) {
        for (uint i = 0u; i < a.k >> 2; i++) {
            for (uint n = 0u; n < TN; n++) {
                uint row = min(n0 + n, a.n - 1u);
                wv[n] = Q_LOAD4(wa, wa_v, row, a.k, i);
            }
            for (uint m = 0u; m < TM; m++) {
                vec4 xv = x4[(min(t0 + m, a.rows - 1u) * a.x_stride >> 2) + i];
                for (uint n = 0u; n < TN; n++) acc[m][n] += dot(xv, wv[n]);
            }
        }
    } else {
        for (uint i = 0u; i < a.k; i++) {
            for (uint n = 0u; n < TN; n++) wv[n].x = Q_ONE(wa, min(n0 + n, a.n - 1u), a.k, i);
            for (uint m = 0u; m < TM; m++) {
                float xv = x[min(t0 + m, a.rows - 1u) * a.x_stride + i];
                for (uint n = 0u; n < TN; n++) acc[m][n] += xv * wv[n].x;
            }
        }
    }
    for (uint m = 0u; m < TM && t0 + m < a.rows; m++) {
        for (uint n = 0u; n < TN && n0 + n < a.n; n++) {
            uint col = a.y_first + n0 + n;
            float v = acc[m][n];
            if ((EPI & EPI_BIAS) != 0u) v += bias[col];
            v = activate(ACT, v);
            if ((EPI & EPI_RESIDUAL) != 0u) v += res[(t0 + m) * a.res_stride + col];
            y[(t0 + m) * a.y_stride + col] = v;
        }
    }
}
