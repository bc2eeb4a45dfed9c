// SPDX-License-Identifier: Apache-2.0
// IQ3_S: blocks of 256 weights in 8 groups of 32: the low 8 bits of 8 codes in the group's 8 bytes of 64; then a
// byte with their high bits, of 8; a byte of signs for two codes, of 32; and a scale of 4 bits, of 4 bytes; weight =
// d * (2 scale + 1) * level, of the levels 1, 3, 5, ... 15. Planes: low bits 64; the rest 44; d 2 (F16).
#define Q_RUNS 1
#define Q_LEVEL_BITS 3
uint q_magnitudes(uint levels) { return 0x01010101u + levels * 2u; }
#include "iq_signs.glsl"
#include "iq_codes.glsl"
q_raw q_make(uvec2 v, uint high, uint signs, uint scale, float d)
{
    uvec4 h = uvec4(high, high >> 2, high >> 4, high >> 6);
    h = ((h & 1u) << 8) | ((h & 2u) << 23);
    return q_raw(uvec4(q_widen(v.x), q_widen(v.y)) | h, signs, vec2(d * float(2u * (scale & 15u) + 1u)));
}
#define Q_CODES_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, more = 4u * (at + q_plane1(k)) + 11u * b; \
    return q_make(q_pair(quad(at + (c >> 1)), g), word(more + (g >> 2)) >> (8u * (g & 3u)), word(more + 2u + g), \
                  word(more + 10u) >> (4u * g), Q_HALF(word, at + q_plane2(k), b));
