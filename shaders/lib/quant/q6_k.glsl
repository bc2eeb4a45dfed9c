// SPDX-License-Identifier: Apache-2.0
// Q6_K: blocks of 256 weights of 6 bits in groups of 16, which have a signed byte of scale; weight = d * scale *
// (bits - 32). Planes: 128 bytes of nibbles, 64 of high bits, 16 scales: 208; d 2 (F16).
// Nibble byte 64n + 16r + l holds weight 128n + 16r + l in its low and weight 64 further in its high nibble; their high
// bits are bits 2 * (r / 2) and 4 further of high byte 32n + 16 * (r % 2) + l.
// Chunk 8b + g: n = g / 4, r = g % 4; run 0 low, run 1 high nibbles.
#define Q_CHUNK 32
#define Q_RUNS 2
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 32
struct q_raw { uvec4 a, high; vec2 scale; };
q_raw q_make(uvec4 a, uvec4 high, uvec4 scales, float d, uint g)
{
    ivec2 s = ivec2(q_pair(scales, g >> 2) << (24u - 8u * (g & 3u))) >> 24;
    return q_raw(a, high >> (g & 2u), d * vec2(s));
}
#define Q_CHUNK_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, block = at + 13u * b; \
    return q_make(quad(block + g), quad(block + 8u + 2u * (g >> 2) + (g & 1u)), quad(block + 12u), \
                  Q_HALF(word, at + q_plane1(k), b), g);
uint q_at(uint c, uint s) { return 8u * (c & ~3u) + 4u * (c & 3u) + 16u * s; }
#define Q_FOUR_OF(name) \
    uvec2 at = q_find(i); \
    uint b = at.x >> 3, g = at.x & 7u, v = at.y & 3u, r = q_row_at(row, k), block = 4u * (r + 13u * b); \
    uint low = name##_word(block + 4u * g + v) >> (at.y & 4u); \
    uint high = name##_word(block + 32u + 8u * (g >> 2) + 4u * (g & 1u) + v) >> (at.y & 4u) >> (g & 2u); \
    int scale = int(name##_word(block + 48u + 2u * (g >> 2) + (at.y >> 2)) << (24u - 8u * (g & 3u))) >> 24; \
    return Q_HALF(name##_word, r + q_plane1(k), b) * float(scale) * \
           (q_unsigned((low & 0x0f0f0f0fu) | ((high & 0x03030303u) << 4)) - 32.0);
#define Q_FIND 1
uvec2 q_find(uint i) { return uvec2(4u * (i >> 5) + ((i >> 2) & 3u), (i & 3u) + ((i >> 2) & 4u)); }
uint q_word(q_raw r, uint i)
{
    return ((r.a[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu) | (((r.high[i & 3u] >> (i & 4u)) & 0x03030303u) << 4);
}
float q_scale(q_raw r, uint s) { return r.scale[s]; }
