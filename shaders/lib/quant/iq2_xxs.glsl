// SPDX-License-Identifier: Apache-2.0
// IQ2_XXS: blocks of 256 weights in 8 groups of 32, which have 8 bytes each: 4 codes of 8 bits; 4 times 7 signs and
// the scale, 4 bits; weight = d * (scale + 1/2) / 4 * level. Planes: groups 64, d 2 (F16).
#define Q_RUNS 1
#include "iq2_levels.glsl"
q_raw q_make(uvec2 v, float d)
{
    return q_raw(q_widen(v.x), q_even(q_sevens(v.y)), vec2(d * (float(v.y >> 28) + 0.5) * 0.25));
}
#define Q_CODES_OF(word, quad) return q_make(q_pair(quad(at + (c >> 1)), c), Q_HALF(word, at + q_plane1(k), c >> 3));
