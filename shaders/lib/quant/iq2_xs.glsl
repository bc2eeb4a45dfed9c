// SPDX-License-Identifier: Apache-2.0
// IQ2_XS: blocks of 256 weights in 8 groups of 32, which have 4 times 16 bits each: a code of 9 bits, 7 signs. Each
// half of a group has a scale of 4 bits; weight = d * (scale + 1/2) / 4 * level. Planes: groups 64, scales 8, d 2
// (F16).
#define Q_RUNS 2
#include "iq2_levels.glsl"
q_raw q_make(uvec2 v, uint scales, float d)
{
    uvec2 s = (v >> 9) & 0x007f007fu;
    s = (s | (s >> 8)) & 0x7f7fu;
    return q_raw(v & 0x01ff01ffu, q_even(s.x | (s.y << 16)), d * (vec2(scales & 15u, scales >> 4) + 0.5) * 0.25);
}
#define Q_CODES_OF(word, quad) \
    uint b = c >> 3, g = c & 7u; \
    return q_make(q_pair(quad(at + (c >> 1)), c), q_byte(q_pair(quad(at + q_plane1(k) + (b >> 1)), b), g), \
                  Q_HALF(word, at + q_plane2(k), b));
