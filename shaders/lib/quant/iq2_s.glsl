// SPDX-License-Identifier: Apache-2.0
// IQ2_S: blocks of 256 weights in 8 groups of 32: the low 8 bits of 4 codes in the group's word of the first 32
// bytes, a byte of signs for each code in the second 32, then a byte with the codes' high 2 bits, then one with a
// scale of 4 bits for each half; weight = d * (scale + 1/2) / 4 * level. Planes: low bits and signs 64; high bits
// and scales 16; d 2 (F16).
#define Q_RUNS 2
#include "iq2_levels.glsl"
q_raw q_make(uint low, uint signs, uvec4 more, uint g, float d)
{
    uint high = q_byte(more.xy, g), scales = q_byte(more.zw, g);
    uvec2 h = uvec2((high & 3u) | ((high & 12u) << 14), ((high >> 4) & 3u) | ((high & 0xc0u) << 10));
    return q_raw(q_widen(low) | (h << 8), signs, d * (vec2(scales & 15u, scales >> 4) + 0.5) * 0.25);
}
#define Q_CODES_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, first = 4u * at + 16u * b + g; \
    return q_make(word(first), word(first + 8u), quad(at + q_plane1(k) + b), g, Q_HALF(word, at + q_plane2(k), b));
