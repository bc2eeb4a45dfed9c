// SPDX-License-Identifier: Apache-2.0
// Q2_K: blocks of 256 weights of 2 bits in groups of 16, which have a scale and a minimum of 4 bits each.
// Planes: 16 bytes of scales (low nibbles) and minimums (high), then 64 bytes of bits: 80; factors of the scales and of
// the minimums 4 (F16 each). Byte 32n + 16h + l holds in bits 2j the weight 128n + 32j + 16h + l, of group 8n + 2j + h.
// Chunk 8b + g: bytes (n, h) = g / 4, g / 2 % 2; runs j = g % 2 * 2 and the next.
#define Q_CHUNK 32
#define Q_RUNS 2
#define Q_BLOCKS 1
#define Q_HAS_MIN 1
#define Q_BYTES 1
#define Q_ZERO 0
struct q_raw { uvec4 a; vec2 scale, minimum; };
q_raw q_make(uvec4 a, uint scales, uint factors, uint g)
{
    uint s = scales >> (4u * (g & 2u));
    vec2 d = unpackHalf2x16(factors);
    return q_raw(a >> (4u * (g & 1u)), d.x * vec2(s & 15u, (s >> 16) & 15u),
                 -d.y * vec2((s >> 4) & 15u, (s >> 20) & 15u));
}
#define Q_CHUNK_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, block = at + 5u * b; \
    return q_make(quad(block + 1u + (g >> 1)), word(4u * block + 2u * (g >> 2) + (g & 1u)), \
                  word(4u * (at + q_plane1(k)) + b), g);
uint q_at(uint c, uint s)
{
    return 64u * (c >> 3) + 8u * (c & 4u) + 16u * (c & 1u) + 8u * s + 2u * (c & 2u);
}
#define Q_FIND 1
uvec2 q_find(uint i)
{
    return uvec2(8u * (i >> 6) + ((i >> 3) & 4u) + ((i >> 1) & 2u) + ((i >> 4) & 1u), (i & 3u) + ((i >> 1) & 4u));
}
uint q_word(q_raw r, uint i) { return (r.a[i & 3u] >> ((i & 4u) >> 1)) & 0x03030303u; }
float q_scale(q_raw r, uint s) { return r.scale[s]; }
float q_min(q_raw r, uint s) { return r.minimum[s]; }
