// SPDX-License-Identifier: Apache-2.0
// NVFP4: blocks of 64 numbers of 4 bits in four groups of 16, each 8 bytes with number j in the low and j + 8 in the
// high nibble of byte j, and a scale of 8 bits (UE4M3: 4 bits of exponent, 3 of mantissa, no sign; 0x7f, its NaN, is 0,
// as ggml has it). Planes: nibbles 32, scales 4. A chunk is two groups. Quants are twice the numbers.
#define Q_CHUNK 32
#define Q_RUNS 2
#define Q_BLOCKS 1
#include "fp4.glsl"
struct q_raw { uvec4 a; vec2 scale; };
// half the scale; subnormal ones are whole numbers of 2^-9
float q_half_scale(uint u)
{
    uint bits = u & 127u;
    float normal = uintBitsToFloat((bits << 20) + (119u << 23));
    return (u & 255u) == 127u ? 0.0 : bits < 8u ? float(bits) / 1024.0 : normal;
}
q_raw q_make(uvec4 a, uint scales, uint c)
{
    uint u = scales >> (16u * (c & 1u));
    return q_raw(a, vec2(q_half_scale(u), q_half_scale(u >> 8)));
}
#define Q_CHUNK_OF(word, quad) return q_make(quad(at + c), word(4u * (at + q_plane1(k)) + (c >> 1)), c);
uint q_at(uint c, uint s) { return 8u * c + 4u * s; }
uint q_word(q_raw r, uint i) { return q_fp4(r.a[((i >> 1) & 2u) | (i & 1u)] >> (2u * (i & 2u))); }
float q_scale(q_raw r, uint s) { return r.scale[s]; }
