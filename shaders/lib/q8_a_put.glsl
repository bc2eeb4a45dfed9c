// SPDX-License-Identifier: Apache-2.0
// Writes activations of 8 bits: what norm.comp and quantize_act.comp share. Define Q8_A_BINDING first.
#include "q8_a.glsl"
layout(set = 0, binding = Q8_A_BINDING) writeonly buffer y8_words { uint y8[]; };

/* Block b of a row of k numbers: its 32 numbers, in fours. Numbers that are not finite give quants of no meaning. */
void q8_a_put(uint row, uint k, uint b, vec4 v[8])
{
    vec4 most = abs(v[0]);
    [[unroll]] for (uint i = 1u; i < 8u; i++) most = max(most, abs(v[i]));
    float top = max(max(most.x, most.y), max(most.z, most.w));
    bool some = top > 1e-30;
    float scale = some ? top * (1.0 / 127.0) : 0.0, inverse = some ? 127.0 / top : 0.0;
    uint at = 4u * q8_a_row(k) * row, sums = 0u;
    [[unroll]] for (uint h = 0u; h < 2u; h++) {
        ivec4 sum = ivec4(0);
        [[unroll]] for (uint i = 4u * h; i < 4u * h + 4u; i++) {
            ivec4 q = ivec4(roundEven(v[i] * inverse));
            uvec4 bytes = uvec4(q) & 255u;
            sum += q;
            y8[at + 8u * b + i] = bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24;
        }
        sums |= (uint(sum.x + sum.y + sum.z + sum.w) & 0xffffu) << (16u * h);
    }
    at += 4u * q8_a_scales(k) + 2u * b;
    y8[at] = floatBitsToUint(scale);
    y8[at + 1u] = sums;
}
