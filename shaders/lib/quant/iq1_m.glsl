// SPDX-License-Identifier: Apache-2.0
// IQ1_M: blocks of 256 weights in 8 groups of 32: the low 8 bits of 4 codes in the group's word of the first 32
// bytes; then 16 bits: for each code its high 3 bits and a sign. At last 64 bits for all: in each 16 of them the
// scales of two groups, 3 bits for each half, and 4 bits of d (F16), the lowest first; weight = d * (2 scale + 1) *
// level. Planes: codes 48, scales 8.
#define Q_RUNS 2
#include "iq1_levels.glsl"
q_raw q_make(uint low, uint more, uvec2 scales, uint g)
{
    uvec2 h = uvec2((more & 7u) | ((more & 0x70u) << 12), ((more >> 8) & 7u) | ((more & 0x7000u) << 4));
    uint signs = (more >> 3) & 0x1111u;
    signs = (signs | (signs << 8)) & 0x00ff00ffu;
    signs = (signs | (signs << 4)) & 0x0f0f0f0fu;
    uint s = (g < 4u ? scales.x : scales.y) >> (8u * (g & 2u) + 6u * (g & 1u));
    uvec2 top = (scales >> 12) & 0x000f000fu;
    top = (top | (top >> 12)) & 255u;
    float d = unpackHalf2x16(top.x | (top.y << 8)).x;
    return q_raw(q_widen(low) | (h << 8), signs | (signs << 4),
                 d * vec2(2u * uvec2(s & 7u, (s >> 3) & 7u) + 1u) * 0.125);
}
#define Q_CODES_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, first = 4u * at + 12u * b; \
    return q_make(word(first + g), word(first + 8u + (g >> 1)) >> (16u * (g & 1u)), \
                  q_pair(quad(at + q_plane1(k) + (b >> 1)), b), g);
