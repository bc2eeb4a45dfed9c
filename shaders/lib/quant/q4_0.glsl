// SPDX-License-Identifier: Apache-2.0
// Q4_0: blocks of 32 weights in 18 bytes: an F16 scale, then 16 bytes; byte j holds weight j in its low and weight
// j + 16 in its high nibble; weight = scale * (nibble - 8). A block begins on any half word: at an even one the bytes
// are split between neighbouring words.
#define Q_CHUNK 32
#define Q_VECS 8
#define Q_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define Q_BLOCKS 1
struct q_raw { uvec4 a; float scale; };
vec4 q_nibbles(uint u) /* the low ones of four bytes */
{
    return vec4((ivec4(u, u >> 8, u >> 16, u >> 24) & 15) - 8);
}
q_raw q_align(uvec4 a, uint last, bool odd)
{
    uvec4 a1 = uvec4(a.yzw, last);
    return q_raw(odd ? a1 : (a >> 16) | (a1 << 16), unpackHalf2x16(odd ? a.x >> 16 : a.x).x);
}
#define Q_CHUNK_OF(words, quads) \
    uint half_at = (row * (k >> 5) + c) * 9u, at = half_at >> 1; \
    return q_align(uvec4(words[at], words[at + 1u], words[at + 2u], words[at + 3u]), words[at + 4u], \
                   (half_at & 1u) != 0u);
#define Q_FOUR_OF(words, quads) \
    uint half_at = (row * (k >> 5) + (i >> 3)) * 9u, at = half_at >> 1, odd = half_at & 1u; \
    uint low = words[at + (i & 3u)], high = words[at + (i & 3u) + 1u]; \
    uint u = odd != 0u ? high : (low >> 16) | (high << 16); \
    return unpackHalf2x16(words[at] >> (16u * odd)).x * q_nibbles((i & 4u) != 0u ? u >> 4 : u);
#define Q_ONE_OF(words) \
    uint half_at = (row * (k >> 5) + (i >> 5)) * 9u, byte_at = 2u * half_at + 2u + (i & 15u); \
    float d = unpackHalf2x16(words[half_at >> 1] >> (16u * (half_at & 1u))).x; \
    return d * float(int(words[byte_at >> 2] >> (8u * (byte_at & 3u) + ((i & 16u) >> 2)) & 15u) - 8);
vec4 q_vec(q_raw r, uint i) { return q_nibbles(i < 4u ? r.a[i] : r.a[i - 4u] >> 4); }
float q_scale(q_raw r) { return r.scale; }
