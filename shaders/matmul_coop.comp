#version 450
// SPDX-License-Identifier: Apache-2.0
// y = act(W x + bias) + residual for many batch rows with cooperative matrices: a workgroup computes BM batch rows x BN
// weight rows, walking k in steps of BK through shared memory; a subgroup computes a strip of all BM rows and BN / SGS
// weight rows in fragments of CM x CN. Sums are f32. Weights are rounded to f16 (exact for F16); x is taken as the
// sum of two f16 numbers, so that of its 24 bits 22 count, and clamped to f16's range.
// WG = SGS * the subgroup size; BM, BN / SGS, BK: multiples of CM, CN, CK; BK also of 4. grid as matmul.
// Weight rows are whole chunks and batch rows begin on 16 bytes.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_NV_cooperative_matrix : require
#pragma use_vulkan_memory_model
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 128;
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 3) const uint BK = 32;
layout(constant_id = 4) const uint SGS = 4;
layout(constant_id = 5) const uint CM = 16;
layout(constant_id = 6) const uint CN = 16;
layout(constant_id = 7) const uint CK = 16;
layout(constant_id = 8) const uint ACT = 0;
const uint ALIGNED = 1u;
layout(push_constant) uniform push { pum_args_matmul a; };
#include "lib/weights.glsl"
WEIGHTS(0, w)
#define X_BINDING 1
#include "lib/input.glsl"
#include "lib/epilogue.glsl"

// the use of a matrix travels in its scope: tools/coop_spirv.py
#define MATRIX_A fcoopmatNV<16, 0x103, CM, CK>
#define MATRIX_B fcoopmatNV<16, 0x203, CK, CN>
#define MATRIX_C fcoopmatNV<32, 0x303, CM, CN>

const uint STRIDE = BK + 8u; // keeps banks apart, rows begin on 16 bytes
shared float16_t x_high[BM * STRIDE];
shared float16_t x_low[BM * STRIDE];
shared float16_t ws[BN * STRIDE];
shared float outs[SGS * CM * CN];

void put_x(uint at, vec4 v)
{
    v = clamp(v, vec4(-65504.0), vec4(65504.0));
    for (uint j = 0u; j < 4u; j++) {
        float16_t high = float16_t(v[j]);
        x_high[at + j] = high;
        x_low[at + j] = float16_t(v[j] - float(high));
    }
}

void put_w(uint at, vec4 v)
{
    for (uint j = 0u; j < 4u; j++) ws[at + j] = float16_t(v[j]);
}

void main()
{
    uint me = gl_LocalInvocationID.x, n0 = gl_WorkGroupID.x * BN, t0 = gl_WorkGroupID.y * BM;
    const uint ROWS = BM / CM, COLS = BN / SGS / CN;
    uint strip = gl_SubgroupID * COLS * CN;
    MATRIX_C acc[ROWS * COLS];
    [[unroll]] for (uint i = 0u; i < ROWS * COLS; i++) acc[i] = MATRIX_C(0.0);
    for (uint k0 = 0u; k0 < a.k; k0 += BK) {
        for (uint i = me; i < BM * (BK / 4u); i += WG) {
            uint m = i / (BK / 4u), k = i % (BK / 4u) * 4u;
            bool inside = t0 + m < a.rows && k0 + k < a.k;
            put_x(m * STRIDE + k, inside ? x_quad(((t0 + m) * a.x_stride + k0 + k) >> 2) : vec4(0.0));
        }
        for (uint i = me; i < BN * (BK / 4u); i += WG) {
            uint n = i / (BK / 4u), k = i % (BK / 4u) * 4u;
            bool inside = n0 + n < a.n && k0 + k < a.k;
            put_w(n * STRIDE + k, inside ? w_four(n0 + n, a.k, (k0 + k) >> 2) : vec4(0.0));
        }
        barrier();
        for (uint k = 0u; k < BK; k += CK) {
            [[unroll]] for (uint c = 0u; c < COLS; c++) {
                MATRIX_B b;
                coopMatLoadNV(b, ws, (strip + c * CN) * STRIDE + k, STRIDE, true);
                [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                    MATRIX_A x_part;
                    coopMatLoadNV(x_part, x_low, r * CM * STRIDE + k, STRIDE, false);
                    acc[r * COLS + c] = coopMatMulAddNV(x_part, b, acc[r * COLS + c]);
                    coopMatLoadNV(x_part, x_high, r * CM * STRIDE + k, STRIDE, false);
                    acc[r * COLS + c] = coopMatMulAddNV(x_part, b, acc[r * COLS + c]);
                }
            }
        }
        barrier();
    }
    uint mine = gl_SubgroupID * CM * CN;
    [[unroll]] for (uint i = 0u; i < ROWS * COLS; i++) {
        coopMatStoreNV(acc[i], outs, mine, CN, false);
        barrier();
        for (uint e = gl_SubgroupInvocationID; e < CM * CN; e += gl_SubgroupSize) {
            uint t = t0 + i / COLS * CM + e / CN, row = n0 + strip + i % COLS * CN + e % CN;
            if (t < a.rows && row < a.n) finish(t, row, outs[mine + e], 1.0);
        }
        barrier();
    }
}
