// SPDX-License-Identifier: Apache-2.0
// BF16: the upper half of an F32, two weights a word, the first in the low half. A row of odd length begins at a
// half word.
#define Q_CHUNK 8
#define Q_RUNS 1
#define Q_BLOCKS 0
struct q_raw { uvec4 a; };
vec4 q_pairs(uint a, uint b)
{
    return uintBitsToFloat(uvec4(a << 16, a & 0xffff0000u, b << 16, b & 0xffff0000u));
}
float q_half(uint word, uint high)
{
    return uintBitsToFloat((word >> (16u * high)) << 16);
}
#define Q_ROW_AT (row * k >> 3)
#define Q_CHUNK_OF(word, quad) return q_raw(quad(at + c));
#define Q_FOUR_OF(name) \
    uint at = (row * k >> 1) + 2u * i; \
    return q_pairs(name##_word(at), name##_word(at + 1u));
#define Q_ONE_OF(word) return q_half(word((row * k + i) >> 1), (row * k + i) & 1u);
uint q_at(uint c, uint s) { return 2u * c; }
vec4 q_vec(q_raw r, uint i) { return i == 0u ? q_pairs(r.a.x, r.a.y) : q_pairs(r.a.z, r.a.w); }
float q_scale(q_raw r, uint s) { return 1.0; }
