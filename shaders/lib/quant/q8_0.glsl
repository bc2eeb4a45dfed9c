// SPDX-License-Identifier: Apache-2.0
// Q8_0: blocks of 32 weights in 34 bytes: an F16 scale, then 32 signed bytes; weight = scale * byte.
// A block begins on any half word: at an even one the bytes are split between neighbouring words.
#define Q_CHUNK 32
#define Q_VECS 8
#define Q_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define Q_BLOCKS 1
struct q_raw { uvec4 a, b; float scale; };
vec4 q_bytes(uint u)
{
    int s = int(u);
    return vec4(ivec4(s << 24, s << 16, s << 8, s) >> 24);
}
q_raw q_align(uvec4 a, uvec4 b, uint last, bool odd)
{
    uvec4 a1 = uvec4(a.yzw, b.x), b1 = uvec4(b.yzw, last);
    return q_raw(odd ? a1 : (a >> 16) | (a1 << 16), odd ? b1 : (b >> 16) | (b1 << 16),
                 unpackHalf2x16(odd ? a.x >> 16 : a.x).x);
}
#define Q_CHUNK_OF(words, quads) \
    uint half_at = (row * (k >> 5) + c) * 17u, at = half_at >> 1; \
    return q_align(uvec4(words[at], words[at + 1u], words[at + 2u], words[at + 3u]), \
                   uvec4(words[at + 4u], words[at + 5u], words[at + 6u], words[at + 7u]), words[at + 8u], \
                   (half_at & 1u) != 0u);
#define Q_FOUR_OF(words, quads) \
    uint half_at = (row * (k >> 5) + (i >> 3)) * 17u, at = half_at >> 1, odd = half_at & 1u; \
    uint low = words[at + (i & 7u)], high = words[at + (i & 7u) + 1u]; \
    float d = unpackHalf2x16(words[at] >> (16u * odd)).x; \
    return d * q_bytes(odd != 0u ? high : (low >> 16) | (high << 16));
#define Q_ONE_OF(words) \
    uint half_at = (row * (k >> 5) + (i >> 5)) * 17u, byte_at = 2u * half_at + 2u + (i & 31u); \
    float d = unpackHalf2x16(words[half_at >> 1] >> (16u * (half_at & 1u))).x; \
    return d * float(int(words[byte_at >> 2] << (24u - 8u * (byte_at & 3u))) >> 24);
vec4 q_vec(q_raw r, uint i) { return q_bytes(i < 4u ? r.a[i] : r.b[i - 4u]); }
float q_scale(q_raw r) { return r.scale; }
