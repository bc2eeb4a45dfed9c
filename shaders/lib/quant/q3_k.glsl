// SPDX-License-Identifier: Apache-2.0
// Q3_K: blocks of 256 weights of 3 bits in groups of 16, which have a scale of 6 bits; weight = d * (scale - 32)
// * (bits - 4). Planes: 32 bytes of high bits and 64 bytes of low bits: 96; scales 12; d 2 (F16). Low bits as in Q2_K;
// bit 4n + j of high byte 16h + l is bit 2 of weight 128n + 32j + 16h + l. Chunks and runs as in Q2_K.
// Scale of group i: low 4 bits in nibble i / 8 of byte i % 8, high 2 in bits 2 * (i / 4) of byte 8 + i % 4.
#define Q_CHUNK 32
#define Q_RUNS 2
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 4
struct q_raw { uvec4 a, high; vec2 scale; };
q_raw q_make(uvec4 a, uvec4 high, uint low_scales, uint high_scales, float d, uint g)
{
    uint n = g >> 2, pair = g & 1u, shift = 4u * (g & 2u);
    uint low = (low_scales >> (4u * n + shift)) & 0x000f000fu;
    uint s = low | (((high_scales >> (4u * n + 2u * pair + shift)) & 0x00030003u) << 4);
    return q_raw(a >> (4u * pair), high >> (4u * n + 2u * pair), d * (vec2(s & 63u, s >> 16) - 32.0));
}
#define Q_CHUNK_OF(word, quad) \
    uint b = c >> 3, g = c & 7u, block = at + 6u * b; \
    uint scales_at = 4u * (at + q_plane1(k)) + 3u * b; \
    return q_make(quad(block + 2u + (g >> 1)), quad(block + ((g >> 1) & 1u)), word(scales_at + (g & 1u)), \
                  word(scales_at + 2u), Q_HALF(word, at + q_plane2(k), b), g);
uint q_at(uint c, uint s)
{
    return 64u * (c >> 3) + 8u * (c & 4u) + 16u * (c & 1u) + 8u * s + 2u * (c & 2u);
}
#define Q_FIND 1
uvec2 q_find(uint i)
{
    return uvec2(8u * (i >> 6) + ((i >> 3) & 4u) + ((i >> 1) & 2u) + ((i >> 4) & 1u), (i & 3u) + ((i >> 1) & 4u));
}
uint q_word(q_raw r, uint i)
{
    uint s = i >> 2;
    return ((r.a[i & 3u] >> (2u * s)) & 0x03030303u) | (((r.high[i & 3u] >> s) & 0x01010101u) << 2);
}
float q_scale(q_raw r, uint s) { return r.scale[s]; }
