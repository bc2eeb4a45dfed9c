// SPDX-License-Identifier: Apache-2.0
// IQ3_XXS: blocks of 256 weights in 8 groups of 32: 8 codes of 8 bits in the group's 8 of the first 64 bytes; in its
// word of the 32 after them 4 times 7 signs and the scale, 4 bits; weight = d * (scale + 1/2) / 2 * level, of the
// levels 4, 12, 20, ... 52 and 62. Planes: groups 96, d 2 (F16).
#define Q_RUNS 1
#define Q_LEVEL_BITS 3
uint q_magnitudes(uint levels)
{
    uint last = levels & (levels >> 1) & (levels >> 2) & 0x01010101u;
    return 0x04040404u + levels * 8u + last * 2u;
}
#include "iq_signs.glsl"
#include "iq_codes.glsl"
q_raw q_make(uvec2 v, uint more, float d)
{
    return q_raw(uvec4(q_widen(v.x), q_widen(v.y)), q_even(q_sevens(more)),
                 vec2(d * (float(more >> 28) + 0.5) * 0.5));
}
#define Q_CODES_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, first = at + 6u * b; \
    return q_make(q_pair(quad(first + (g >> 1)), g), word(4u * first + 16u + g), Q_HALF(word, at + q_plane1(k), b));
