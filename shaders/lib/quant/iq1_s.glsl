// SPDX-License-Identifier: Apache-2.0
// IQ1_S: blocks of 256 weights in 8 groups of 32: the low 8 bits of 4 codes in the group's word of the first 32
// bytes; then 16 bits: 4 times the codes' high 3 bits, the scale, 3 bits, and the sign of all; weight = d * (2 scale
// + 1) * level. Planes: codes 48, d 2 (F16).
#define Q_RUNS 1
#include "iq1_levels.glsl"
q_raw q_make(uint low, uint more, float d)
{
    uvec2 h = uvec2((more & 7u) | ((more & 0x38u) << 13), ((more >> 6) & 7u) | ((more & 0xe00u) << 7));
    return q_raw(q_widen(low) | (h << 8), ((more >> 15) & 1u) * 0x11111111u,
                 vec2(d * float(2u * ((more >> 12) & 7u) + 1u) * 0.125));
}
#define Q_CODES_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, first = 4u * at + 12u * b; \
    return q_make(word(first + g), word(first + 8u + (g >> 1)) >> (16u * (g & 1u)), Q_HALF(word, at + q_plane1(k), b));
